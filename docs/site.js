// The theme lets wide tables scroll by themselves; this lets a keyboard scroll them.
document$.subscribe(() => {
  const reach = () => document.querySelectorAll(".md-typeset__scrollwrap").forEach((one) => (one.tabIndex = 0))
  requestAnimationFrame(() => setTimeout(reach))
})
