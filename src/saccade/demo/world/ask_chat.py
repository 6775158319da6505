"""Small talk, and what people ask that the demo model cannot do: training patterns and unseen sentences.

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
        "what is the [style|mood|meaning|message|story|history|quality] of [this|the] $photo?",
        "[why|how] was this [$photo|taken|made]?",
        "!translate [this|it|the text|this $photo|the words] [to|into|in] $tongue",
        "!translate {w} [to|into] $tongue",
        "how do you say {w} in $tongue?",
        "what [is|does] {w} [in|mean in] $tongue?",
        "what does {w} mean?",
        "[define|definition of|what is the meaning of|synonym for|explain] {w}",
        "what is [a|an|the] {w} [good for|made of|used for|called in $tongue]?",
        "!write [a|me a|a short|a long|me a funny] $piece[| about {w}| about $animal and {w}| for my mother]",
        "![tell|sing|compose|invent] [a|me a|us a] $piece[| about {w}| about $land]",
        "![draw|paint|generate|create|sketch] [a|an|me a|a picture of a|an image of a] [{w}|$animal|$goods]",
        "![make|turn] the [background|sky|$animal|$goods] [blue|darker|bigger|blurry|disappear]",
        "![remove|erase|replace|add|blur] the [background|$animal|$goods|{w}|face]",
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
        "what [time|day|date|year] is it[| now| today| in $city]?",
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
        "what do you think [of|about] [{w}|$land|politics|this $photo|$famous]?",
        "who [won|will win] the [world cup|election|game|race][| in $land]?",
        "is it going to rain [today|tomorrow|in $city]?",
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
        Do you recognize the celebrity here? / Name the politician in the middle
        / What emotion does her face show? / Guess his age / Whose portrait is that?
        / Is the lady a friend of yours? / Which dinosaur is it? / Is that spider venomous?
        / Which wine goes with fish? / Which football club does the player belong to?
        / In what museum does it hang? / Is it an original Rembrandt? / In what country is this beach?
        / Give me the Spanish version / Put it in Portuguese, please / I only speak Swedish, can you translate?
        / how would a Greek person say that / Compose verses on autumn / I want to hear something funny
        / Make up a bedtime tale with a dragon / Draft a cover letter for a job / Can you rhyme? / Sing for me
        / Paint me a sunset / Photoshop a hat on him / Make this black and white
        / Could you crop the left half away? / 17 multiplied by 4 / Add up 38 and 57 / what's 9 squared
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
        / How do magnets work?""",
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
