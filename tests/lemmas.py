"""English words and their lemmas, written for the tests: a lemma, and forms of it. Forms that are words of their own
(left, saw, found) are here with the lemma that a reader expects first, so that a dictionary without parts of speech
cannot have them all right.
"""

from __future__ import annotations

VERBS = """
be am is are was were been being
have has had having
do does did done doing
go goes went gone going
come came comes coming
take took taken takes taking
give gave given gives giving
get got gotten gets getting
make made makes making
say said says saying
see saw seen sees seeing
know knew known knows knowing
think thought thinks thinking
find found finds finding
tell told tells telling
feel felt feels feeling
leave left leaves leaving
bring brought brings bringing
buy bought buys buying
catch caught catches catching
teach taught teaches teaching
seek sought seeks seeking
fight fought fights fighting
begin began begun beginning
drink drank drunk drinking
sing sang sung singing
swim swam swum swimming
ring rang rung ringing
run ran runs running
write wrote written writes writing
ride rode ridden riding
drive drove driven driving
rise rose risen rising
speak spoke spoken speaking
break broke broken breaking
steal stole stolen stealing
freeze froze frozen freezing
choose chose chosen choosing
wear wore worn wearing
tear tore torn tearing
swear swore sworn swearing
eat ate eaten eats eating
fall fell fallen falling
forget forgot forgotten forgetting
hide hid hidden hiding
bite bit bitten biting
fly flew flown flies flying
grow grew grown growing
blow blew blown blowing
throw threw thrown throwing
draw drew drawn drawing
show showed shown showing
lie lay lain lies lying
die died dies dying
sit sat sits sitting
stand stood stands standing
understand understood understands understanding
hold held holds holding
keep kept keeps keeping
sleep slept sleeps sleeping
meet met meets meeting
lead led leads leading
feed fed feeds feeding
send sent sends sending
spend spent spends spending
build built builds building
lend lent lends lending
lose lost loses losing
pay paid pays paying
sell sold sells selling
win won wins winning
shine shone shines shining
shoot shot shoots shooting
stick stuck sticks sticking
strike struck strikes striking
hang hung hangs hanging
dig dug digs digging
swing swung swings swinging
sink sank sunk sinking
become became becomes becoming
wake woke woken waking
shake shook shaken shaking
mean meant means meaning
deal dealt deals dealing
hear heard hears hearing
study studied studies studying
carry carried carries carrying
stop stopped stops stopping
plan planned plans planning
agree agreed agrees agreeing
love loved loves loving
panic panicked panics panicking
travel traveled travelled traveling
watch watched watches watching
"""
NOUNS = """
man men
woman women
child children
foot feet
tooth teeth
goose geese
mouse mice
louse lice
ox oxen
person people
wolf wolves
knife knives
life lives
wife wives
shelf shelves
thief thieves
loaf loaves
half halves
calf calves
potato potatoes
hero heroes
city cities
baby babies
country countries
box boxes
church churches
bus buses
analysis analyses
crisis crises
thesis theses
hypothesis hypotheses
criterion criteria
phenomenon phenomena
matrix matrices
index indices
cactus cacti
fungus fungi
nucleus nuclei
alumnus alumni
bacterium bacteria
curriculum curricula
die dice
day days
house houses
dog dogs
sheep sheep
series series
news news
bus buses
glass glasses
physics physics
"""
ADJECTIVES = """
good better best
bad worse worst
far farther farthest
big bigger biggest
happy happier happiest
large larger largest
hot hotter hottest
early earlier earliest
"""
PAIRS = [
    (form, lemma)
    for table in (VERBS, NOUNS, ADJECTIVES)
    for lemma, *forms in map(str.split, table.strip().splitlines())
    for form in forms
]
