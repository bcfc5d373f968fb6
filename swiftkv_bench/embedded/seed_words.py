"""Words that ``seeds`` puts together: topics, ways to ask, small tables of facts, beginnings of prose."""

# ruff: noqa: E501  # a list of phrases reads best with many on a line


def _listed(text: str) -> tuple[str, ...]:
    """Phrases between semicolons; a line break of the file is a space, a written one stays."""
    parts = (" ".join(part.split()) for part in text.split(";"))
    return tuple(part.replace("\\n", "\n") for part in parts if part)


#: Noun phrases, by field.
TOPICS = {
    "nature": _listed("""photosynthesis; the water cycle; volcanoes; ocean tides; bird migration; honey bees; coral reefs; earthquakes;
        the food chain in a pond; rain forests; thunderstorms; the seasons; fossils; glaciers; soil erosion; desert plants; whales; mushrooms"""),
    "science": _listed("""gravity; electric circuits; the periodic table; chemical reactions; black holes; the speed of light; magnets;
        the structure of an atom; DNA; viruses and bacteria; the human heart; the immune system; evolution; energy conservation; sound waves;
        the solar system; acids and bases; friction; lenses and mirrors; nuclear power; the scientific method; cells"""),
    "history": _listed("""the Roman Empire; the printing press; the Silk Road; the Industrial Revolution; ancient Egypt; the Renaissance;
        the First World War; the French Revolution; the space race; the Black Death; the abolition of slavery; the Cold War; the Great Depression;
        the invention of writing; Viking voyages; the Mongol Empire; women's suffrage; the fall of the Berlin Wall"""),
    "society": _listed("""inflation; supply and demand; elections; the separation of powers; taxes; public libraries; trade unions; property law;
        contracts; the United Nations; human rights; advertising; insurance; city planning; immigration; small businesses; job interviews;
        marketing a new product; accounting; interest rates; free trade; negligence in law; criminal trials"""),
    "numbers": _listed("""prime numbers; fractions; percentages; the Pythagorean theorem; probability; averages and medians; negative numbers;
        linear equations; the area of a circle; graphs of functions; compound interest; logarithms; sets and subsets; proof by contradiction;
        units of measurement; geometric sequences; standard deviation"""),
    "computers": _listed("""sorting algorithms; databases; passwords; the internet; recursion; spreadsheets; computer viruses; machine learning;
        binary numbers; web browsers; version control; open-source software; operating systems; Python lists; error messages; unit tests;
        encryption; neural networks; backups; a loop that counts words in a file"""),
    "life": _listed("""a healthy breakfast; sleeping well; learning to swim; growing tomatoes; caring for a puppy; packing for a journey; baking bread;
        saving money; riding a bicycle in traffic; making friends in a new town; cleaning a kitchen; keeping a diary; playing chess;
        writing a thank-you note; moving house; first aid for a burn; camping in the rain; tea; knitting; running a marathon; fixing a flat tyre"""),
    "body and mind": _listed("""vitamins; blood pressure; memory; stress; allergies; the digestive system; vaccines; diabetes; anxiety; muscles and bones;
        habits; dreams; hearing loss; nutrition for older people; child development; conditioning in psychology; personality; the brain"""),
    "arts": _listed("""jazz; oil painting; the novel; haiku; photography; the violin; Greek tragedy; fairy tales; architecture; film music; ballet;
        metaphors; detective stories; pottery; opera; street art; science fiction; folk songs"""),
    "places": _listed("""the Amazon River; Japan; the Sahara; Antarctica; the city of Paris; India; the Great Lakes; the Alps; Kenya; Iceland; Brazil;
        the Mediterranean Sea; New York City; Australia; the Himalayas; Mexico; the Arctic; islands in the Pacific"""),
    "thought": _listed("""free will; honesty; the trolley problem; utilitarianism; Buddhism; Socrates; justice; friendship; logic puzzles; common fallacies;
        the meaning of courage; world religions; Confucius; the social contract; forgiveness; scepticism; the mind and the body"""),
}

ASKS = _listed("""Tell me about {a}.; What is {a}?; Explain {a} to a ten-year-old.; Can you give me five facts about {a}?; Why does {a} matter?;
    Write a short essay about {a}.; What do people often get wrong about {a}?; Summarise what is known about {a} in two sentences.;
    Write a poem about {a}.; Write a short story in which {a} plays a part.; Compare {a} with {b}.; What has {a} to do with {b}?;
    Give me a list of ten words that have to do with {a}, each with a short explanation.; I have to give a talk about {a}. Write an outline.;
    Write a dialogue between a teacher and a student about {a}.; What are the advantages and disadvantages of {a}?;
    Describe {a} step by step.; Make three multiple-choice questions about {a} and give the answers.; What questions should I ask an expert on {a}?;
    Write an e-mail to a friend who wants to know more about {a}.; Is it true that {a} is hard to understand? Explain.; How would you teach {a}?;
    Write the introduction of an encyclopedia article about {a}.; What is the history of {a}?; Give me an example of {a} from everyday life.;
    Can you explain {a} and then {b}?; Translate into simple English: an expert's definition of {a}.; Write a headline and a news report about {a}.;
    I read something about {a} yesterday and did not understand it. Help me.; What books should I read about {a}, and why?;
    Write a Python program that has to do with {a}.; Name three causes and three effects that have to do with {a}.;
    What would the world be like without {a}?; Write a joke about {a}.; Make a table that compares {a} and {b}.; Rewrite this in formal words: I like {a} a lot.;
    Give step-by-step advice to a beginner in {a}.; What is the most surprising thing about {a}?; True or false: {a} is less important than {b}. Give reasons.""")

#: A question with a place for the subject, and (subject, answer) pairs.
FACTS = {
    "What is the capital of {}?": (
        ("France", "Paris"),
        ("Japan", "Tokyo"),
        ("Egypt", "Cairo"),
        ("Italy", "Rome"),
        ("Spain", "Madrid"),
        ("Canada", "Ottawa"),
        ("Kenya", "Nairobi"),
        ("Peru", "Lima"),
        ("Norway", "Oslo"),
        ("Greece", "Athens"),
        ("Russia", "Moscow"),
        ("China", "Beijing"),
        ("Cuba", "Havana"),
        ("Poland", "Warsaw"),
        ("Portugal", "Lisbon"),
        ("Austria", "Vienna"),
        ("Thailand", "Bangkok"),
        ("Iran", "Tehran"),
        ("Chile", "Santiago"),
        ("Ireland", "Dublin"),
    ),
    "Which chemical element has the symbol {}?": (
        ("O", "oxygen"),
        ("H", "hydrogen"),
        ("Fe", "iron"),
        ("Au", "gold"),
        ("Na", "sodium"),
        ("C", "carbon"),
        ("He", "helium"),
        ("Ag", "silver"),
        ("K", "potassium"),
        ("Ca", "calcium"),
        ("Pb", "lead"),
        ("N", "nitrogen"),
        ("Cu", "copper"),
        ("Zn", "zinc"),
        ("Cl", "chlorine"),
        ("Ne", "neon"),
    ),
    "What kind of animal is a {}?": (
        ("frog", "amphibian"),
        ("salmon", "fish"),
        ("sparrow", "bird"),
        ("dolphin", "mammal"),
        ("snake", "reptile"),
        ("ant", "insect"),
        ("eagle", "bird"),
        ("spider", "arachnid"),
        ("bat", "mammal"),
        ("newt", "amphibian"),
        ("crab", "crustacean"),
        ("snail", "mollusc"),
        ("tuna", "fish"),
        ("lizard", "reptile"),
    ),
    "What does one use to measure {}?": (
        ("temperature", "a thermometer"),
        ("time", "a clock"),
        ("weight", "a scale"),
        ("air pressure", "a barometer"),
        ("length", "a ruler"),
        ("wind speed", "an anemometer"),
        ("electric current", "an ammeter"),
        ("angles", "a protractor"),
        ("direction", "a compass"),
        ("speed of a car", "a speedometer"),
    ),
    "Who works mostly with {}?": (
        ("teeth", "a dentist"),
        ("bread", "a baker"),
        ("wood", "a carpenter"),
        ("books", "a librarian"),
        ("plants", "a gardener"),
        ("animals that are ill", "a vet"),
        ("laws", "a lawyer"),
        ("buildings", "an architect"),
        ("aeroplanes", "a pilot"),
        ("fires", "a firefighter"),
        ("fish", "a fisherman"),
        ("stars", "an astronomer"),
    ),
    "Which organ or part of the body is needed most to {}?": (
        ("see", "the eyes"),
        ("hear", "the ears"),
        ("pump blood", "the heart"),
        ("breathe", "the lungs"),
        ("think", "the brain"),
        ("digest food", "the stomach"),
        ("clean the blood", "the kidneys"),
        ("smell", "the nose"),
        ("taste", "the tongue"),
        ("walk", "the legs"),
    ),
    "What is {}?": tuple((f"{a} times {b}", str(a * b)) for a in range(3, 13) for b in range(4, 13, 3))
    + tuple((f"{a} plus {b}", str(a + b)) for a in range(14, 90, 9) for b in range(7, 60, 13)),
    "Which of these is the opposite of {}?": (
        ("hot", "cold"),
        ("early", "late"),
        ("empty", "full"),
        ("brave", "cowardly"),
        ("ancient", "modern"),
        ("generous", "stingy"),
        ("rough", "smooth"),
        ("noisy", "quiet"),
        ("shallow", "deep"),
        ("rare", "common"),
        ("victory", "defeat"),
        ("expand", "shrink"),
        ("public", "private"),
        ("poor", "rich"),
    ),
    "In which century did this happen: {}?": (
        ("the French Revolution", "the eighteenth"),
        ("the first landing on the Moon", "the twentieth"),
        ("the Black Death in Europe", "the fourteenth"),
        ("Columbus's first voyage to America", "the fifteenth"),
        ("the invention of the telephone", "the nineteenth"),
        ("the Great Fire of London", "the seventeenth"),
    ),
}

MARKS = (".", ".", ")", ":")

QUIZ_FRAMES = (
    "{}",
    "Choose the right answer.\n\n{}\n\nAnswer with the letter alone.",
    "{}\n\nWhich one is right? Reply with a letter.",
    "Read the question and the four options and pick the best one.\n\n{}\n\nEnd your reply with the letter of your choice.",
    "Please think step by step, then say which answer is right.\n\n{}",
)

ANSWERS = ("{}", "The answer is {}.", "Answer: {}", "The right option is {}.", "My choice is {}.")

PAPERS = _listed(
    """Questions about {} and other subjects, with answers; Test paper: {}; Revision exercises for {}; A quiz on {}"""
)

EXERCISES = _listed("""{name} has {high} {thing} and gives {low} of them to {other}. How many {thing} does {name} have left?;
    A box holds {few} rows of {low} {thing}. How many {thing} are there in {few} boxes?;
    {name} buys {few} {thing} for {price} dollars each and pays with a {high}0-dollar note. How much change does {name} get?;
    {name} reads {low} pages a day. A book has {high}{few} pages. How many days does {name} need for it?;
    {name} is {few} times as old as {other}, who is {low}. How old will {name} be in {price} years?;
    A train goes {high} kilometres in {few} hours. How far does it go in {price} hours at that speed?;
    {name} earns {price} dollars an hour and works {low} hours a week. After spending {high} dollars, how much is left after {few} weeks?;
    {name} and {other} share {high} {thing} so that {other} gets {few} more than {name}. How many does each get?;
    A shop sells {thing} at {price} dollars and takes {few}0 percent off. What do {low} {thing} cost?;
    Every week {name} collects {low} {thing} and loses {few}. How many does {name} have after {price} weeks?""")

STEPS = (
    "{}",
    "{}",
    "{} Show your work.",
    "Solve this step by step: {}",
    "{} Think first, then give the final answer as a number.",
)

NAMES = _listed("""Anna; Ben; Carla; David; Elena; Farid; Grace; Hugo; Ines; Jamal; Kate; Liam; Maria; Noah; Olga; Peter; Qing; Rosa; Samuel; Tara; Umar; Vera;
    William; Yuki; Zoe; Arjun; Beatrice; Chidi; Deepa; Emil; Fiona; George""")

THINGS = _listed(
    """apples; books; marbles; stamps; cookies; pencils; eggs; tickets; shells; candles; oranges; coins; postcards; buttons; flowers; stickers"""
)

PEOPLE = _listed(
    """A man; A woman; A young boy; A girl in a red coat; An old man; Two friends; A group of students; A family; A cook; A gardener; A dog; The coach; A musician"""
)

PLACES = _listed(
    """in a kitchen; on a beach; in a gym; beside a lake; in a crowded street; at a bus stop; in a workshop; on a stage; in a garden; on a snowy hill; in a library; at a fair"""
)

DOINGS = _listed("""starts to speak to the camera; is washing a car; throws a ball; is cutting vegetables; plays the drums; ties a rope; is painting a fence; climbs a ladder;
    is dancing; lifts a heavy bag; mixes flour and water; is looking for something; jumps into the water; polishes shoes; puts on skis; folds paper""")

SCENES = _listed("""{who} {doing} {place}. Then; {who} stands {place} and {doing}. After that,; How to spend a day {place}:; {name} met {other} {place} because;
    {name} did not want to lend {other} the {thing}, since; The {thing} did not fit into the bag because; {name} thanked {other} for the help, and;
    Video: {who} {doing} {place}. Next,; {name} was angry with {other}. The reason was that; "{name}," said {other}, "where are the {thing}?\"""")

OPENINGS = _listed(r"""# {a}\n\n; Once upon a time, {name}; In this article we look at {a}.; {name} opened the door and; Dear {name},\n\n; Chapter One\n\nIt was;
    The history of {a} begins; def ; Abstract: We study {a}; Breaking news:; Recipe of the day:; How to understand {a}\n\nStep 1:; Frequently asked questions about {a}\n\n;
    Lecture notes: {a}\n\n1.; Most people think that {a}; {name}: What do you know about {a}?\n; Review: a book about {a}\n\n; The following is a summary of {a}.;
    Definition. ; Case study. A company that works on {a}; The law says that; A patient of 54 years; According to a new report, {a}; Poem\n\n; Interview with {name} about {a}\n\n;
    Table of contents\n\n1. {a}\n2.; In physics,; In the year 1850,; import ; Theorem. ; User manual\n\n; My favourite memory of {a} is""")
