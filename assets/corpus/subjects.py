"""What the pictures show: emoji by group and style, groups of several things, public-domain drawings; each "
"with its words."""

from __future__ import annotations

# A name stands for "a name" unless a phrase follows "=". Names are the icon names that the emoji packages share.
SINGLES: dict[str, dict[str, str]] = {
    "animals": {
        "twemoji": "dog cat-face rabbit elephant=an+elephant lion tiger-face panda fox giraffe owl=an+owl "
        "penguin horse butterfly frog hedgehog",
        "noto": "dog cat rabbit monkey koala bear zebra pig rooster parrot turtle honeybee=a+honey+bee snail cow",
        "fluent": "chipmunk kangaroo",
    },
    "sea life": {
        "twemoji": "dolphin octopus=an+octopus tropical-fish crab shark jellyfish seal",
        "noto": "dolphin spouting-whale=a+spouting+whale lobster blowfish coral=a+branch+of+coral",
        "fluent": "fish",
    },
    "fruit and vegetables": {
        "twemoji": "red-apple banana grapes=a+bunch+of+grapes strawberry watermelon=a+slice+of+watermelon carrot "
        "ear-of-corn=an+ear+of+corn avocado=half+an+avocado pineapple",
        "noto": "red-apple green-apple cherries=a+pair+of+cherries lemon tomato broccoli=a+head+of+broccoli "
        "pear eggplant=an+eggplant",
        "fluent": "peach",
    },
    "meals": {
        "twemoji": "hamburger pizza=a+slice+of+pizza hot-dog sushi=two+pieces+of+sushi "
        "spaghetti=a+plate+of+spaghetti bread=a+loaf+of+bread "
        "cheese-wedge=a+wedge+of+cheese",
        "noto": "hamburger french-fries=a+box+of+french+fries taco pancakes=a+stack+of+pancakes "
        "green-salad=a+bowl+of+green+salad sandwich",
        "fluent": "croissant",
    },
    "sweets and drinks": {
        "twemoji": "birthday-cake doughnut ice-cream=a+bowl+of+ice+cream hot-beverage=a+cup+of+hot+coffee "
        "lollipop teapot chocolate-bar",
        "noto": "birthday-cake cookie soft-ice-cream=a+soft+ice+cream+cone glass-of-milk=a+glass+of+milk "
        "candy=a+wrapped+candy cupcake",
        "fluent": "bubble-tea=a+cup+of+bubble+tea",
    },
    "transport": {
        "twemoji": "automobile=a+red+car bicycle airplane=an+airplane rocket locomotive=a+steam+locomotive "
        "fire-engine helicopter sailboat tractor",
        "noto": "bicycle bus taxi police-car motorcycle ship=a+large+ship train ambulance=an+ambulance kick-scooter",
        "fluent": "delivery-truck speedboat",
    },
    "weather": {
        "twemoji": "sun=the+sun rainbow cloud-with-rain=a+cloud+with+rain snowflake tornado "
        "umbrella=an+umbrella snowman",
        "noto": "cloud-with-lightning=a+cloud+with+lightning snowman-without-snow=a+snowman rainbow "
        "sun-behind-cloud=the+sun+behind+a+cloud "
        "umbrella-with-rain-drops=an+umbrella+in+the+rain",
        "fluent": "cloud-with-snow=a+cloud+with+snow",
    },
    "plants": {
        "twemoji": "sunflower rose cactus palm-tree evergreen-tree=an+evergreen+tree mushroom maple-leaf",
        "noto": "tulip deciduous-tree=a+leafy+tree four-leaf-clover potted-plant cherry-blossom sunflower",
        "fluent": "hibiscus=a+hibiscus+flower",
    },
    "sport": {
        "twemoji": "soccer-ball=a+soccer+ball basketball tennis=a+tennis+ball boxing-glove "
        "trophy=a+golden+trophy skateboard",
        "noto": "soccer-ball american-football=an+American+football baseball skis=skis+with+a+boot "
        "ice-skate=an+ice+skate",
        "fluent": "volleyball",
    },
    "music": {
        "twemoji": "guitar violin trumpet drum headphone=a+pair+of+headphones musical-keyboard=a+piano+keyboard",
        "noto": "guitar saxophone accordion=an+accordion banjo microphone",
        "fluent": "maracas=a+pair+of+maracas",
    },
    "tools": {
        "twemoji": "hammer wrench scissors=a+pair+of+scissors magnet light-bulb key toolbox",
        "noto": "hammer screwdriver carpentry-saw=a+carpentry+saw broom "
        "magnifying-glass-tilted-left=a+magnifying+glass",
        "fluent": "paintbrush",
    },
    "faces": {
        "twemoji": "grinning-face face-with-tears-of-joy=a+face+with+tears+of+joy crying-face "
        "angry-face=an+angry+face sleeping-face clown-face "
        "robot=a+robot+face ghost",
        "noto": "smiling-face-with-sunglasses=a+smiling+face+with+sunglasses thinking-face loudly-crying-face "
        "alien=an+alien+face cowboy-hat-face "
        "skull",
        "fluent": "smiling-face-with-heart-eyes=a+smiling+face+with+heart+eyes",
    },
    "buildings": {
        "twemoji": "house castle church=a+church hospital tokyo-tower=a+red+steel+tower ferris-wheel",
        "noto": "house-with-garden=a+house+with+a+garden mosque stadium=a+stadium factory hut=a+hut",
        "fluent": "office-building=an+office+building",
    },
    "flags": {
        "twemoji": "flag-france=the+flag+of+France flag-japan=the+flag+of+Japan flag-brazil=the+flag+of+Brazil "
        "flag-canada=the+flag+of+Canada "
        "flag-germany=the+flag+of+Germany flag-kenya=the+flag+of+Kenya flag-india=the+flag+of+India "
        "flag-mexico=the+flag+of+Mexico",
    },
    "space": {
        "twemoji": "ringed-planet=a+planet+with+rings crescent-moon telescope flying-saucer",
        "noto": "full-moon=the+full+moon globe-showing-europe-africa=the+globe+with+Europe+and+Africa comet satellite",
    },
}

# Several things in one picture: group, style, icon names from left to right, what it shows.
SEVERAL: list[tuple[str, str, str, str]] = [
    ("animals", "twemoji", "cat dog", "a cat and a dog side by side"),
    ("animals", "twemoji", "penguin penguin penguin", "three penguins in a row"),
    ("animals", "noto", "elephant giraffe lion", "an elephant, a giraffe and a lion"),
    ("animals", "noto", "rooster hatching-chick chicken", "a rooster, a hatching chick and a hen"),
    ("animals", "twemoji", "butterfly tulip honeybee", "a butterfly and a bee with a tulip between them"),
    ("sea life", "twemoji", "fish tropical-fish blowfish", "three different fish"),
    ("sea life", "noto", "octopus coral crab", "an octopus and a crab beside a coral"),
    ("sea life", "noto", "whale fish", "a big whale and a little fish"),
    ("fruit and vegetables", "twemoji", "red-apple banana pear", "an apple, a banana and a pear"),
    ("fruit and vegetables", "twemoji", "tomato cucumber carrot", "a tomato, a cucumber and a carrot"),
    ("fruit and vegetables", "noto", "strawberry strawberry strawberry", "three strawberries"),
    ("fruit and vegetables", "noto", "watermelon pineapple mango", "a slice of watermelon, a pineapple and a mango"),
    ("meals", "twemoji", "hamburger french-fries cup-with-straw", "a hamburger, french fries and a drink with a straw"),
    (
        "meals",
        "twemoji",
        "fork-and-knife-with-plate egg bacon",
        "a plate with fork and knife, an egg and bacon for breakfast",
    ),
    ("meals", "noto", "pizza spaghetti", "a slice of pizza and a plate of spaghetti"),
    ("sweets and drinks", "twemoji", "hot-beverage croissant", "a cup of coffee and a croissant"),
    ("sweets and drinks", "noto", "doughnut cookie cupcake", "a doughnut, a cookie and a cupcake"),
    ("sweets and drinks", "twemoji", "balloon birthday-cake wrapped-gift", "a birthday cake with a balloon and a gift"),
    ("transport", "twemoji", "automobile bus bicycle", "a car, a bus and a bicycle"),
    ("transport", "noto", "fire-engine police-car ambulance", "a fire engine, a police car and an ambulance"),
    ("transport", "twemoji", "sailboat ship", "a sailing boat and a ship"),
    ("weather", "twemoji", "sun cloud cloud-with-rain", "the sun, a cloud and a rain cloud"),
    ("weather", "noto", "snowflake snowman snowflake", "a snowman between two snowflakes"),
    ("plants", "twemoji", "cactus cactus cactus", "three cactuses in a row"),
    ("plants", "noto", "rose sunflower tulip", "a rose, a sunflower and a tulip"),
    ("plants", "twemoji", "evergreen-tree deciduous-tree palm-tree", "an evergreen, a leafy tree and a palm tree"),
    ("sport", "twemoji", "soccer-ball goal-net", "a soccer ball and a goal"),
    ("sport", "noto", "basketball volleyball tennis", "a basketball, a volleyball and a tennis racket"),
    ("sport", "twemoji", "1st-place-medal trophy 2nd-place-medal", "a trophy between a gold and a silver medal"),
    ("music", "twemoji", "violin musical-notes trumpet", "a violin and a trumpet with musical notes"),
    ("music", "noto", "drum guitar musical-keyboard", "a drum, a guitar and a piano keyboard"),
    ("tools", "twemoji", "hammer screwdriver wrench", "a hammer, a screwdriver and a wrench"),
    ("tools", "noto", "pencil straight-ruler scissors", "a pencil, a ruler and scissors"),
    ("faces", "twemoji", "grinning-face crying-face angry-face", "a happy, a sad and an angry face"),
    ("faces", "noto", "ghost jack-o-lantern skull", "a ghost, a carved pumpkin and a skull for Halloween"),
    ("buildings", "twemoji", "house house-with-garden office-building", "two houses and an office building"),
    ("buildings", "noto", "school hospital bank", "a school, a hospital and a bank"),
    ("space", "twemoji", "rocket full-moon star", "a rocket, the moon and a star"),
    ("space", "noto", "ringed-planet alien-monster satellite", "a ringed planet, an alien and a satellite"),
]

# Drawings with their own background, which are shown complete.
FRAMED = {"bunny_01", "sun_flower_ganson", "factory_gabrielle_nowick_", "raccoon_ganson"}

# Public-domain drawings: group, path in the package, what it shows.
CLIPART: list[tuple[str, str, str]] = [
    ("sea life", "animals/mammals/bluewhale-md", "a blue whale"),
    ("animals", "animals/mammals/bunny_01", "a pink rabbit on a green field"),
    ("animals", "animals/mammals/raccoon_ganson", "a raccoon looking into a green box"),
    ("animals", "animals/mammals/cartoon_cat_gerald_g._01", "a grey cartoon cat walking"),
    ("animals", "animals/birds/owl_on_branch_ganson", "an owl in black and white on a branch"),
    ("animals", "animals/birds/puffin-md", "a puffin"),
    ("animals", "animals/bugs/ladybug_01", "a red ladybug with black spots"),
    ("sea life", "animals/mammals/dolphin_enrique_meza_c_01", "a leaping dolphin"),
    ("sea life", "animals/fish/clown_loach_01", "an orange and black striped fish"),
    ("sea life", "animals/fish/crawfish1_ganson", "a red crawfish with big claws"),
    ("fruit and vegetables", "food/fruit/cherries", "two red cherries"),
    ("fruit and vegetables", "food/fruit/pineapple", "a pineapple with green leaves"),
    ("fruit and vegetables", "food/fruit/strawberry", "a ripe strawberry"),
    ("fruit and vegetables", "food/fruit/lemon_half_ganson", "half a lemon"),
    ("fruit and vegetables", "food/fruit/grapes_simple", "a bunch of purple grapes"),
    ("sweets and drinks", "food/beverages/coffee_ganson", "a mug of coffee"),
    ("sweets and drinks", "food/beverages/teapot_ganson", "a white teapot with a blue band"),
    ("sweets and drinks", "food/desserts/pie_cherry", "a piece of cherry pie"),
    ("transport", "transportation/vehicles/rocket", "a grey rocket with flames"),
    ("transport", "transportation/pallone_aerestatico_arch_01", "a hot air balloon in red and yellow"),
    ("transport", "transportation/boating/sailboat_illustration", "a sailing boat with blue sails"),
    ("music", "recreation/music/violin_colour_ganson", "a violin lying on its side"),
    ("music", "recreation/music/harp1_ganson", "a brown harp"),
    ("music", "recreation/music/guitar_ganson", "an acoustic guitar"),
    ("music", "recreation/music/trumpet_b_flat_colour_ganso", "a brass trumpet"),
    ("sport", "recreation/sports/tennis_racket_01", "a blue tennis racket"),
    ("sport", "recreation/sports/baseball_glove_ganson", "a leather baseball glove"),
    ("tools", "tools/blacksmith_anvil_ganson", "a blacksmith's anvil"),
    ("tools", "tools/hurricane_lamp_ganson", "a red hurricane lamp"),
    ("buildings", "buildings/homes/house", "a brown house with a red door"),
    ("buildings", "buildings/homes/home10", "an igloo of blue ice"),
    ("buildings", "transportation/lighthouse_matthew_gates_", "a red and white lighthouse"),
    ("buildings", "buildings/factory_gabrielle_nowick_", "a factory with smoking chimneys"),
    ("plants", "plants/flowers/sun_flower_ganson", "a sunflower under a cloudy sky"),
    ("plants", "plants/mushroom", "a red mushroom with white dots"),
    ("space", "geography/astronomy/saturn_dan_gerhards_01", "the planet Saturn with its rings"),
]


def singles() -> list[tuple[str, str, str, str]]:
    """Group, style, icon name and phrase of every picture with one thing in it."""
    rows = []
    for group, styles in SINGLES.items():
        for style, words in styles.items():
            for word in words.split():
                name, _, phrase = word.partition("=")
                rows.append((group, style, name, phrase.replace("+", " ") or f"a {name.replace('-', ' ')}"))
    return rows
