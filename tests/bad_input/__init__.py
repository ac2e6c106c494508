"""Every bad input that a user can give, what the command says to it, and the page that lists them."""
