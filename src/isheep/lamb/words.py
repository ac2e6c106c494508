"""The words and facts of lamb's world. None of the words is one of the phrases' own, so that words stay letters."""

from __future__ import annotations

WORDS = tuple(
    """
    ant ape arm axe bat bed bee bell belt bird boat bone bowl bread brick bus cake calf camel candy cap car cart cave
    chair cheek chest clay cliff cloud clown coal coat coin comb cook corn cow crab crane crow crown cup dawn deer desk
    dew dice dish dog doll donkey door dove drum duck dust eagle ear egg elbow elk fan farm fawn fern fig fish flag
    flea flour fly foal foam fog fork fox frog fruit fur gate gem ghost giant girl glove glue goat gold goose grain
    grape grass gum ham hand harp hat hawk hay heel hen herb hill hive honey hood hoof hook horn horse hut ice ink iron
    island ivy jacket jam jar jaw jelly jet jewel juice kettle key kid king kite knee knife knot lace lake lamb lamp
    leaf leek lemon lid lime lion lip log lung maid maple mask meat melon milk mint mole moon moth mouse mud mug mule
    nail neck nest net night north nose nut oak oat ocean olive onion orange otter oven owl ox paint palm pan panda
    paw pea peach pear pearl pen pepper piano pie pig pigeon pillow pin pine pipe plane plate plum pond pony pot
    prince pup purse queen quilt rabbit rain rake rat reed rice ring river road robe robin rock roof room root rope
    rose rug sack sail salt sand scarf sea seal seed shark sheep shell ship shirt shoe shop silk silver skin skirt sky
    snail snake snow soap sock sofa soil soup spider spoon stable star steam stone stool storm stove straw street sugar
    sun swan sword table tail tea tent thorn thumb tiger toad toast tooth towel tower train tray tree truck trunk tube
    tulip turtle vase vest vine violin wagon wall wasp water wave wax well whale wheat wheel willow wind wine wing wolf
    wood wool worm wrist yard yarn zebra barn basket bean bear berry bike blanket bottle branch bridge broom brush
    bucket butter button cabin canal carrot castle cellar cherry circus clock cotton cradle desert dragon drawer
    engine fence finger flame forest garden hammer harbor helmet jungle kitten ladder lizard magnet market meadow
    mirror monkey needle orchid parrot pebble pencil pirate planet pocket potato puzzle ribbon rocket saddle sailor
    salmon school shadow spring stream summer sunset tailor temple ticket timber tunnel valley velvet walnut window
    winter wizard
    """.split()
)

OPPOSITES = (
    "hot cold, big small, tall short, fast slow, old young, rich poor, hard soft, wet dry, dark light, loud quiet, "
    "happy sad, early late, full empty, open shut, high low, deep shallow, thick thin, clean dirty, brave afraid, "
    "sharp blunt, sweet bitter, strong weak, heavy slim, wide narrow, near far, awake asleep, alive dead, true false, "
    "rough smooth, cheap costly, love hate, win lose, push pull, give take, buy sell, come leave, laugh cry, "
    "sit stand, day dusk, east west, inside outside, above below, begin finish, build destroy, arrive depart, rise sink"
)

KINDS = (
    "animal: cat dog horse sheep lion tiger mouse rabbit zebra camel, fruit: apple peach grape plum lemon melon, "
    "color: red blue green yellow pink brown purple, tool: hammer saw drill wrench pliers, "
    "metal: iron gold copper tin zinc, bird: robin eagle hawk pigeon parrot crow, "
    "tree: oak pine willow maple birch, drink: tea milk juice coffee cocoa, clothes: shirt coat sock scarf glove"
)


def pairs(text: str) -> dict[str, str]:
    """`a b, c d` as a mapping from each first word to its second."""
    return dict(entry.split() for entry in text.split(", "))


def groups(text: str) -> dict[str, str]:
    """`kind: a b, other: c` as a mapping from each member to its kind."""
    members: dict[str, str] = {}
    for entry in text.split(", "):
        kind, names = entry.split(": ")
        members |= dict.fromkeys(names.split(), kind)
    return members
