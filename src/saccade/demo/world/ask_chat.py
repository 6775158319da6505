"""Small talk, and what people ask that the demo model cannot do, whether about a picture ("cannot_seen") or not:
training patterns and unseen sentences.

The patterns are written as in ask_train. `{w}` is filled with a word, `{a}` and `{b}` with numbers.
"""

from __future__ import annotations

import re

SHARED: dict[str, str] = {
    "land": "[France|Germany|Spain|Japan|Brazil|Canada|Egypt|India|China|Kenya|Peru|Norway|Poland|Turkey|Mexico]",
    "city": "[Paris|London|Berlin|Rome|Tokyo|New York|Madrid|Cairo|Sydney|Moscow|Chicago|Vienna]",
    "tongue": "[French|German|Spanish|Italian|Japanese|Chinese|Russian|Arabic|Dutch|Polish|Latin|Hindi]",
    "famous": "[Einstein|Mozart|Napoleon|Shakespeare|Picasso|Newton|Darwin|Lincoln|Gandhi|Beethoven|Obama|Cleopatra]",
    "animal": "[dog|cat|bird|horse|fish|animal|puppy|kitten|cow|insect|butterfly]",
    "goods": "[car|plane|flower|tree|plant|phone|camera|food|dish|fruit|guitar|boat|train|building|mushroom]",
    "person": "[this person|the person|this man|the man|the woman|this woman|that guy|the girl|the boy|the people]",
    "piece": "[poem|story|song|joke|haiku|essay|letter|fairy tale|rap|limerick|speech|blog post|tweet]",
    "code": "[Python|Java|C++|Rust|JavaScript|SQL|bash]",
    "photo": "[photo|picture|image|painting|photograph|drawing]",
    "times": "[times|*|x|plus|+|minus|-|divided by|/]",
}

TRAIN: dict[str, tuple[str, ...]] = {
    "cannot": (
        "!translate {w} [to|into] $tongue",
        "how do you say {w} in $tongue?",
        "what [is|does] {w} [in|mean in] $tongue?",
        "what does {w} mean?",
        "[define|definition of|what is the meaning of|synonym for|explain] {w}",
        "what is [a|an|the] {w} [good for|made of|used for|called in $tongue]?",
        "!write [a|me a|a short|a long|me a funny] $piece[| about {w}| about $animal and {w}| for my mother]",
        "![tell|sing|compose|invent] [a|me a|us a] $piece[| about {w}| about $land]",
        "![draw|paint|generate|create|sketch] [a|an|me a|a picture of a|an image of a] [{w}|$animal|$goods]",
        "what is {a} $times {b}?",
        "[calculate|compute|solve|work out|how much is] {a} $times {b}",
        "{a} $times {b}[| =|?]",
        "what is the square root of {a}?",
        "!solve [the equation |]x + {a} = {b}",
        "what is the capital of $land?",
        "who [is|was] [the president of|the king of|the leader of|the prime minister of] $land?",
        "who [is|was] $famous?",
        "when [was|did] $famous [born|die|live]?",
        "how [many people live|big is it|cold is it|far is it from here|do I get|expensive is it] [in|"
        "to] [$city|$land]?",
        "what is the weather [like |]in $city[| today| tomorrow]?",
        "what [time|day|year] is it [now|today|in $city]?",
        "what happened in [1492|1789|1945|1969|{a}]?",
        "how [tall|high|old|deep|far] is [the Eiffel Tower|Mount Everest|the moon|the ocean|$famous|the sun]?",
        "!write [a function|a program|a script|code] in $code[| that sorts numbers| for {w}]",
        "![fix|debug|explain|review] [my|this|the] $code [code|program|script|function]",
        "![explain|teach me] [physics|chemistry|gravity|love|democracy|evolution|{w}|the internet|history]",
        "why [is the sky blue|do birds fly|is water wet|are you here|do we sleep|is {w} so {w}]?",
        "what should I [cook|eat|wear|buy|read|do|watch|study] [today|tonight|now|for {w}]?",
        "![recommend|suggest] [a|me a|a good] [book|movie|restaurant|song|hotel|game|{w}]",
        "do you [like|love|know|believe in|have|want] [me|{w}|music|$famous|$city|football]?",
        "![send|write] [an email|a message] to [my boss|my friend|$famous]",
        "![book|order|buy|find] [a flight to $city|a hotel in $city|a taxi|a pizza|tickets]",
        "![open|search|browse|google] [the web|the internet|a website|for {w}]",
        "!play [music|chess|a game|a song][| with me]",
        "how do I [cook|make|repair|build|clean|grow] [a|the] [{w}|$goods]?",
        "what do you think [of|about] [{w}|$land|politics|$famous]?",
        "who [won|will win] the [world cup|election|game|race][| in $land]?",
        "is it going to rain [today|tomorrow|in $city]?",
        "how many [countries|continents|oceans|weeks|legs|people|stars|languages|bones|teeth] [are there in $land|"
        "exist|are in the world|does a year have|has a spider|does a $animal have]?",
        "[what|which] [river|mountain|sea|desert|lake|animal] is the [longest|highest|deepest|biggest|oldest] ["
        "in $land|in the world|on earth]?",
        "!name [three|five|some|two|ten] [countries|animals|poets|kings|cities in $land|languages|rivers|presidents]",
        "who [invented|founded|built|discovered] [the telephone|the radio|America|the wheel|electricity|$city]?",
        "which [language|money|currency|religion] [do people have|do they use|is usual] in $land?",
        "is [{w}|chocolate|sugar|coffee|this planet|$land] [healthy|good for me|dangerous|legal|expensive|true|big]?",
        "can [you|I|we|birds|people|dogs] [fly|swim|dance|sing|drive|cook|vote|hear me|feel pain|lie|count to {a}]?",
        "what is [faster|bigger|better|older|heavier], [a $animal or a {w}|$city or {w}|{w} or $land]?",
        "how do [you spell|I pronounce|I spell|people write] {w}?",
        "what rhymes with {w}?",
        "!count [up |down |]to [ten|a hundred|{a}]",
        "what [comes after|comes before] [monday|{a}|january|spring|the letter k]?",
        "!convert {a} [miles|dollars|pounds|degrees|inches|feet] to [kilometers|euros|kilos|celsius|meters]",
        "what is [half of|double|twice|ten percent of|a third of] {b}?",
        "is {a} [a prime|even|odd|bigger than {b}|divisible by {b}]?",
        "which is [bigger|larger|smaller|more], {a} or {b}?",
        "!write [my|me my] [cv|homework|diary|thesis|invitation|wedding speech|letter to {w}]",
        "!summarize [the news|a book|{w}|the life of $famous|the war|the bible]",
        "!tell me [a secret|the future|the news|something interesting|a lie|the truth|about $famous|about $land|"
        "about {w}|what to do]",
        "!give me [advice|a tip|money|an idea|a present|a recipe for {w}|a name for my $animal|a good excuse]",
        "![remember|forget] [my name|that I like {w}|me|everything|our talk]",
        "what did I [say|ask|eat|do|tell you] [before|yesterday|last time|an hour ago]?",
        "where [am I|do you live|can I buy {w}|do birds live|did I leave my {w}|should I travel]?",
        "who is [your boss|my mother|the best singer|god|the richest man|at the door|your favourite $animal]?",
        "when [is|was] [christmas|my birthday|the next election|the moon landing|the next bus|full moon]?",
        "how [old|tall|big|smart|fast|heavy] are you?",
        "do [we|they|dogs|people|fish|robots] [sleep|dream|need {w}|eat {w}|pay taxes|live in $land|think]?",
        "what [happens|would happen] [if I eat {w}|when I die|if it rains|if I press it|when the {w} ends]?",
        "!turn [on|off] the [lamp|radio|tv|heating|music|{w}]",
        "!help me [with my homework|to find a job|to cook {w}|with my {w}|to learn $tongue|to sleep]",
        "!make me [a sandwich|happy|laugh|rich|coffee|a website|a {w}]",
        "![pretend to be|talk like|act like|be] [$famous|a pirate|my mother|a $animal|a {w}]",
        "!ignore [all |your |the ][previous |][instructions|rules|orders]",
        "I [love|hate|like|miss|want] [you|{w}|$land|my $animal|$city]",
        "I am [sad|hungry|bored|tired|ill|angry|lonely|in love|from $land|late]",
        "my [$animal|{w}|computer|car] is [lost|broken|hungry|too old|better than yours]",
        "[blah blah|asdf|lorem ipsum|foo bar|qwerty|la la la|abracadabra|hocus pocus][| {w}| {a}]",
        "is there [life on mars|a god|a train to $city|enough {w}|hope]?",
        "which [{w}|$goods|$animal] [should I buy|is the best|do you like|is yours]?",
        "how [do|can|should] I [get rich|learn $tongue|get to $city|stop smoking|find a {w}|make friends]?",
    ),
    "cannot_seen": (
        "who is [$person|in this $photo|on this $photo|shown in the $photo]?",
        "how old is $person?",
        "is $person [happy|sad|angry|famous|married|smiling|rich]?",
        "!recognize $person",
        "what is $person [thinking|feeling|doing|wearing|looking at]?",
        "what [breed|species|kind of $animal|sort of $animal] is [the $animal|this $animal|this|it]?",
        "what [brand|model|kind of $goods|type of $goods|sort of $goods] is [the $goods|this $goods]?",
        "is [this $animal|the $goods|this $goods|the $animal] [real|old|dangerous|expensive|healthy|safe|"
        "poisonous|cute]?",
        "who [painted|took|made|drew|designed|photographed] [this|this $photo|the $photo|it]?",
        "where was [this|this $photo|the $photo] [taken|made|painted|shot]?",
        "[in which year|when] was this $photo [taken|made|painted]?",
        "what is the [style|mood|meaning|history|quality] of [this|the] $photo?",
        "[why|how] was this [$photo|taken|made]?",
        "!translate [this|it|the text|this $photo|the words] [to|into|in] $tongue",
        "![make|turn] the [background|sky|$animal|$goods] [blue|darker|bigger|blurry|disappear]",
        "![remove|erase|replace|add|blur] the [background|$animal|$goods|{w}|face]",
        "what [do you think|would people say] [of|about] this $photo?",
        "what [is|are] $person [holding|saying|eating|reading|standing on|sitting on|looking for]?",
        "which [actor|singer|country|building|team|painter|season|holiday] is [this|that|it|shown here|in the $photo]?",
        "is $person [a man or a woman|a child|older than me|my friend|alone|dead|in love]?",
        "is this [$photo |][fake|edited|generated|beautiful|art|funny|from a film|worth much]?",
        "do you [recognise|recognize|know] [$person|this place|this building|this song|the painter]?",
        "!rate [this $photo|my $photo|the design|her look|this outfit]",
        "!make [this|the $photo|it] [brighter|sharper|smaller|square|prettier|a painting|black]",
        "![zoom|rotate|crop|flip|resize|retouch|colorize] [it|this|the $photo|my $photo]",
        "!improve [the colors|the light|the quality] of [this|the|my] $photo",
        "what [car|dog|plant|tree|plane|dish|bird|flower] is [this|that|it|on the $photo]?",
        "what [sport|game|song|instrument] [do they play|is he playing|are they playing|is played] here?",
        "where [is|was] $person [going|born|from|hiding|right now]?",
        "is it [warm|cold|sunny|raining|day or night|summer or winter] [here|there|in the $photo]?",
        "what [is|could be] [behind|inside] the [house|car|tree|door|curtain|bag|mountain]?",
        "how [much sugar|many calories|much fat] [does this have|is in this|has it]?",
        "is [he|she|it|this|that] [alive|hungry|dangerous|asleep|angry|hurt|real|tasty]?",
        "!find out [who he is|who she is|where it was taken|who took it|where this place is]",
        "can [he|she|it|this $animal] [fly|see me|swim|bite|talk|hear us]?",
        "[does|would] [he|she|this $animal|that guy] [like|want|know|remember] [me|{w}|us]?",
    ),
    "hello_hi": (
        "[hello|hi|hey|hallo|good morning|good evening|good day|good afternoon][| there| you| again]",
        "[hi|hello|hey], [I am|I'm|my name is] [Anna|Tom|Sam|Eva|Ben|Maria|Paul|a user]",
        "[greetings|howdy|yo|hiya|hi hi|heya|hey hey]",
        "[test|ping|is anybody there?|anybody there?|are you there?|hello?]",
    ),
    "hello_who": (
        "who are you?",
        "what are you?",
        "what is your name?",
        "what's your name?",
        "[which|what] [model|ai|bot|program] [are you|is this]?",
        "who [made|trained|built|created] you?",
        "are you [a model|an ai|a bot|human|chatgpt|a robot|a person|real|qwen]?",
        "!introduce yourself",
        "!tell me [about yourself|who you are|your name|what you are]",
        "[your name?|name yourself|who am I talking to?]",
    ),
    "hello_can": (
        "what can you do[| for me| here| with a picture| with an image]?",
        "what [are you able to do|do you do|are your skills|are you good at|can I ask you|may I ask you]?",
        "how can you help[| me]?",
        "can you help me?",
        "!help[| me]",
        "what [can|should] I [ask|do] [you|here]?",
        "!tell me [what you can do|what I can ask]",
        "[your skills|skills|capabilities|features|options]",
        "what [questions|tasks|pictures] can you [answer|do|read|handle]?",
        "how does this work?",
    ),
    "hello_how": (
        "how are you[| today| doing| doing today]?",
        "how do you [do|feel]?",
        "how is it going?",
        "how's it going?",
        "what's up?",
        "are you [ok|okay|fine|well][| today]?",
        "[hello|hi|hey|good morning|good evening], how [are you|do you do|is it going][| today]?",
        "how [is|was] your day[| so far]?",
        "[and you?|and how are you?|what's going on with you?|how do you feel today?]",
    ),
    "hello_thanks": (
        "[thanks|thank you|thx|thank you very much|thanks a lot|many thanks|thank you so much|cheers][|"
        ", great| for the help| for that]",
        "[great|perfect|nice|good job|well done|very good|wonderful|cool|awesome|good|ok, good][|, thanks|"
        ", thank you| work]",
        "that [helps|is great|was helpful|is correct|is right|was good][|, thanks|, thank you]",
    ),
    "hello_bye": (
        "[bye|goodbye|good bye|bye bye|see you|see you later|good night|ciao|farewell|so long][| then|"
        " for now| and thanks]",
        "[I have to go|that's all|that is all|I am done|I'm leaving][|, bye|, goodbye| now]",
        "until [next time|tomorrow|later]",
    ),
}

PRESET: dict[str, str] = {
    "hello_hi": "Hello!",
    "hello_who": "Who are you?",
    "hello_can": "What can you do?",
    "hello_how": "How are you?",
    "hello_thanks": "Thank you.",
    "hello_bye": "Goodbye.",
}

_WRITTEN: dict[str, str] = {
    "cannot": """
        how would a Greek person say good luck / Compose verses on autumn / I want to hear something funny
        / Make up a bedtime tale with a dragon / Draft a cover letter for a job / Can you rhyme? / Sing for me
        / Paint me a sunset / 17 multiplied by 4 / Add up 38 and 57 / what's 9 squared
        / What percentage is 30 of 120? / Integrate x squared / Which river flows through Prague?
        / Name the largest country on earth / Who wrote Hamlet? / Who discovered penicillin?
        / How many planets are there? / What language do they speak in Chile? / In what year did the Titanic sink?
        / How long is the Nile? / What's the boiling point of water? / Is tomorrow a holiday? / What's the news?
        / Do I need an umbrella? / What is the stock price of Apple? / Implement quicksort
        / Why does my program crash? / How do I reverse a linked list? / Write a regex for dates
        / What's the difference between TCP and UDP? / How does a fridge work? / Why do we dream?
        / What is the meaning of life? / Should I quit my job? / Give me a recipe for lasagna
        / How can I lose weight? / I have a headache, what now? / Which phone is the best one?
        / Are you afraid of death? / Do you have feelings? / Who do you vote for? / Call me a cab
        / Set an alarm for seven / Remind me to buy milk / Reply to that mail / Turn the lights off
        / Let's play a round of poker / Predict the lottery numbers / Who is going to win on Sunday?
        / Tell my fortune / Which god is the right one? / Was Caesar a good man? / Plan a trip to Iceland
        / How do magnets work? / Translate good morning to Welsh / Who holds the marathon record?
        / What does my horoscope say? / Give me the lyrics of a lullaby / How do bees find home?
        / What's the plural of goose? / Is the earth flat? / Roll a dice / How old is the universe?
        / Which president came after Kennedy?""",
    "cannot_seen": """
        Do you recognize the celebrity here? / Name the politician in the middle
        / What emotion does her face show? / Guess his age / Whose portrait is that?
        / Is the lady a friend of yours? / Which dinosaur is it? / Is that spider venomous?
        / Which football club does the player belong to? / In what museum does it hang?
        / Is it an original Rembrandt? / In what country is this beach? / Give me the Spanish version of it
        / Put what stands here in Portuguese, please / Photoshop a hat on him / Make this black and white
        / Could you crop the left half away? / Is there a famous face in it? / Does he look worried?
        / Which artist's work am I looking at? / Tell me this person's name / What dish has been cooked here?
        / Estimate the woman's weight / Would this outfit suit me? / Is that mushroom edible?
        / Whose handwriting is it? / Brighten up the shadows / Who owns this house?
        / What was the photographer feeling? / Which holiday is being celebrated?
        / What model of aeroplane would that be? / How did the child get up there?""",
    "hello_hi": """
        Good to meet you! / Hi there friend / Hello, it is me / Hey buddy / Morning! / Salutations
        / Hello computer / helloo / Hello, anyone home? / Nice to meet you / Evening! / hi model
        / Hey, what a nice day / oh hi / Hello world / Heyyy""",
    "hello_who": """
        Could you say who you are? / Whom do I have the pleasure with? / What should I call you?
        / Are you a machine? / Who is speaking? / What kind of AI are you? / Do you have a name? / Is this GPT?
        / Tell me something about you / Who developed you? / What sort of model do I have here? / You are who?
        / Give me your name / and you are? / Describe yourself / Where do you come from?""",
    "hello_can": """
        What are you capable of? / What's your purpose? / In what ways are you useful? / Any tips what to ask?
        / I don't know what to do here / Which things do you know how to do? / What is possible here?
        / give me an overview of your abilities / For what can I use you? / Explain how to use you
        / Tell me how you could be of use / show me your tricks / What are you made for? / what do you know to do
        / I need some help / List your abilities""",
    "hello_how": """
        How have you been? / You alright? / How's life? / Are you doing well? / hope you are fine
        / How are things? / What's new? / How is the mood? / are you in a good mood / All good?""",
    "hello_thanks": """
        I appreciate it / That was exactly what I needed / Much obliged / Brilliant!
        / Fantastic, you helped me a lot / tysm / Thank you kindly / You are great / Excellent
        / Lovely, thanks so much / Good answer / You did well / nice one / thank ya / I am grateful""",
    "hello_bye": """
        Have a nice day! / Take care / I will be back / We are finished here / Talk to you soon / catch you later
        / Over and out / I need to leave / cu / See ya / That was everything, bye bye now / Gotta go / Logging off
        / Sleep well""",
}
UNSEEN: dict[str, tuple[str, ...]] = {
    form: tuple(" ".join(question.split()) for question in re.split(r"\s+/ ", text.strip()))
    for form, text in _WRITTEN.items()
}

WORDS = (
    *("love", "winter", "freedom", "bread", "music", "rain", "summer", "coffee", "friend", "ocean", "moon", "robot"),
    *(
        "castle",
        "dragon",
        "garden",
        "river",
        "mountain",
        "school",
        "night",
        "dream",
        "money",
        "peace",
        "war",
        "birthday",
    ),
    *(
        "chicken",
        "apple",
        "soup",
        "tractor",
        "engine",
        "window",
        "market",
        "lawyer",
        "doctor",
        "virus",
        "planet",
        "atom",
    ),
    *("holiday", "forest", "island", "pirate", "princess", "wizard", "snow", "fire", "bicycle", "computer", "butter"),
    *("entropy", "inflation", "justice", "gravity", "philosophy", "jazz", "opera", "tennis", "yoga", "chess", "tiger"),
)
"""What questions out of reach are about."""
