"""More of the training grammar: the same forms in rarer verbs, nouns and orders, written as in ask_train.

A model that knows few ways to ask takes every other one for something it cannot do; these are there so that it listens
to what is asked for, not to how.
"""

from __future__ import annotations

SHARED: dict[str, str] = {
    "paper": "[page|paper|document|sheet|scan|image|picture|photo|screen|snapshot|slide|card|note|thing]",
    "hue": "[color|colour|tone|tint|shade|coloring|colouring]",
    "bill": "[receipt|bill|invoice|slip|ticket|document|page|picture]",
    "bars": "[bar|column|category|item|entry|label|group|name|one]",
    "very": "[|by far |clearly |really |overall ]",
    "polite": "[could I have|can I have|may I have|can I get|could I see|may I see|I need|I want|I would like|"
    "I'd like|I'm after|I'm looking for|looking for|let me see|let me know|help me get|help me with]",
    "reads": "[record|capture|note down|write down|type in|put down|jot down|recite|display|"
    "present|retrieve|read|read off|decipher|print|output|scan|pass on|take down]",
    "tells": "[state|specify|name|figure out|work out|mention|answer|confirm|announce|note|see|establish|decide]",
}
_WRITING = "[text|words|lettering|writing|lines|wording|letters|sentences|contents|characters|print]"
_PLACE = (
    "[|[in|on|from|of|within|inside] $this $paper|that [is|are] [there|visible|shown|present]|you [see|find|spot]|"
    "that you can [see|find|read]|as [it is|they are|printed|written]]"
)
_MOST = "[highest|tallest|largest|biggest|longest|greatest|max|maximum|maximal|topmost|strongest|leading|winning]"
_LEAST = "[lowest|shortest|smallest|least|min|minimum|minimal|bottommost|poorest|slightest|losing]"
_CHART = "[|in $this [chart|diagram|graph|plot|picture|image]|on $this [chart|diagram|graph]|of them all|of all|here]"
_TOTAL = (
    "[total|sum|sum total|total sum|total amount|total price|total cost|grand total|overall total|overall amount|"
    "full amount|full price|final amount|final price|end sum|amount due|amount payable|amount owed|"
    "amount to pay|payable amount|balance due|complete price|price of everything|cost of everything]"
)

TRAIN: dict[str, tuple[str, ...]] = {
    "read": (
        f"!$reads [|all |all the |the |each of the |the entire |the complete |every bit of the |any |the visible |"
        f"the printed |the full ]{_WRITING} {_PLACE}",
        "!$reads [everything|it|it all|this|all of it|all of this|the whole thing|the whole $paper|every line|"
        "each line|each word|all lines|every letter|what you see|what you read|whatever is written|"
        "what stands there|what is printed] [|completely|fully|exactly|in full|from top to bottom|carefully]",
        f"$polite [|all |all the |the |the full |the complete |the exact ]{_WRITING} {_PLACE}",
        f"[what|which] {_WRITING} [is|are|stands|stand|can be read|do you read|do you see|do you find|is shown|"
        "is given|is visible|did they print|did someone write] [here|there|in $this $paper|on $this $paper|]?",
        "what [is|was|has been|did they] [write|written|printed|typed|noted|put down|lettered|stated] "
        "[|here|there|on it|in it|down here|on $this $paper|in $this $paper|on top of it]?",
        "what [does|do|might|could|would] [the text|the writing|the words|the lines|the lettering|the note|"
        "the sign|the label|$this $paper|that|all this] [say|tell|tell us|tell me|read|state]?",
        f"[complete|entire|whole|visible|printed|plain|exact|] {_WRITING} [|please|only|here|of $this $paper]",
        "[text|ocr|transcription|reading|wording|letters] [|only|please|now|needed|wanted|of it|of all|pls]",
        "!$reads [the message|the note|the sentence|the paragraph|the inscription|the notice|the words] "
        "[|here|on it|on $this $paper|in $this $paper]",
        "how does [the text|the writing|$this $paper|it|this|the message] [read|go]?",
        "![do|run|perform|start|apply] [ocr|text extraction|a transcription|character recognition|a text scan] "
        "[|here|now|on it|on this|on $this $paper]",
        "[I can't|I cannot|I can not|we can't|my mother can't] read [this|it|that|$this $paper][, | - |. ]"
        "[what does it say|what is written|what is there|please help|read it to me]?",
        "is there [any |some |]text [here|on it|in $this $paper|on $this $paper]? [what is it|what does it say|"
        "which|read it|give it to me]?",
    ),
    "line": (
        "!$reads [only |just |] [line {n}|line number {n}|line no {n}|the line {n}|the {nth} line|the {ordinal} line]"
        " [|for me|only|of the text|of $this $paper]",
        "$polite [line number {n}|the {nth} line|the {ordinal} line|row {n}|the words of line {n}]",
        "[what|which words] [is|are|stand|can be read|do you find|do you see] [in|on|at] [line {n}|row {n}|"
        "line number {n}|the {nth} line|the {ordinal} line|the {ordinal} row]?",
        "what does the text say [in|on] [line {n}|row {n}|the {ordinal} line]?",
        "[line|row] [{n}|number {n}|nr {n}|no. {n}] [please|says what|is what|, what is it|, what does it say]?",
        "[the |][{nth}|{ordinal}] [line|row] [only|alone|says what|is what|, please]",
    ),
    "total": (
        f"what [is|was|would be|comes out as|do you see as] [the|my|our|their] {_TOTAL}"
        " [|here|of $this $bill|on $this $bill|for everything]?",
        f"!$tells [the|its] {_TOTAL} [|of $this $bill|on $this $bill|from $this $bill]",
        f"!$reads [the|only the|just the] {_TOTAL} [|of $this $bill|on $this $bill]",
        f"$polite [the|only the] {_TOTAL} [|of $this $bill|here]",
        f"[|the |what about the |and the ]{_TOTAL} [|of $this $bill|here|please|is what|is how much]?",
        f"how [big|high|large|much] [is|was] the {_TOTAL} [|of $this $bill|here]?",
        "how much [is|was|will|would|should|must|did|do|does] [it|this|that|all this|the whole thing|"
        "the purchase|the order|one|I|we|you|they|the buyer|the client|somebody] "
        "[|cost|cost us|come to|make|add up to|pay|have to pay|need to pay] [|in total|in all|altogether|"
        "in the end|all in all|overall|for everything|for it all]?",
        "what [do|did|must|should|will|would] [I|we|you|they|he|she|somebody|one|the buyer|the shopper] "
        "[pay|have to pay|need to pay] [|in total|in all|altogether|for everything|for all of this|at the till]?",
        "what [does|did|will] [it|this|that|it all|all of it|the purchase|the shopping|the order|the lot] "
        "[cost|come to|add up to|amount to|make] [|in total|in all|in the end|altogether]?",
        "how [much money|many dollars|many euros|much cash] [is due|is needed|was spent|was charged|do we need|"
        "must be paid|has to be paid|changed hands|is asked for]?",
        f"[where|which] [is|number is|figure is|value is|price is] the {_TOTAL}? [|how much is it|tell me]",
        "[to pay|price for all|all together|altogether|overall|sum up|in sum|in total|due] [|how much|please|is]?",
        "[what was|what is] [paid|charged|due|billed|demanded|to be paid] [|in total|in all|altogether|here]?",
    ),
    "field": (
        "what [is|was|has been|did they] [entered|written|typed|filled in|put|noted|given|stated|set] "
        "[for|under|as|at|in|behind|beside|next to|after] [{q}|the {q}|the label {q}|the field {q}]?",
        "!$reads [the value|the text|the entry|the content|the words|what is written|what stands] "
        "[of|for|in|at|behind|beside|next to|after|under] [{q}|the label {q}|the field {q}|the {q} field]",
        "!$tells [the {q}|the value of {q}|the entry for {q}|what {q} says|what {q} is|what is in {q}|"
        "what was entered for {q}|what the form says for {q}|{q}]",
        "$polite [the {q}|the value of {q}|the entry for {q}|the content of {q}|what is in {q}|{q}]",
        "[|what about |how about |and |and what about |the |value: |field ]{q} [|is|please|is what|says|, please]?",
        "[what|which] [value|text|entry|word|content|data] [|do you see|is there|"
        "is shown|was noted|stands|is written|is filled in] [for|at|in|under|next to|beside] [{q}|the field {q}]?",
        "[under|for|at|in|next to|after] [{q}|the field {q}][,|] what [is|stands|is written|"
        "is entered|does it say|do you read|is there]?",
        "!look [at|for|up] {q}[ and|,|. then] [read|tell me|say|give me] [what is there|the value|its value|"
        "what stands there|the text|what it says|what comes next]",
        "!find [{q}|the field {q}|the label {q}] and [tell me|say|give me|copy|write|type] [its value|its content|"
        "what is there|the text in it|the entry|what it says|what was typed]",
        "{q}: [what|which|value|which value|what is it|what does it say|what is entered]?",
    ),
    "field_price": (
        "!$tells [the price|the cost|the amount] [of|for] [{q}|the {name}|{name}]",
        "$polite the [price|cost|amount] [of|for] [{q}|the {name}|{name}]",
        "[{q}|{name}] [price|, what price|- price|is what price|costs which price]?",
        "[what|which] [price|cost|amount] [is|was|stands|do you see|is given|is charged|was paid|is asked] "
        "[for|at|next to|behind|beside] [{q}|the {name}|{name}]?",
        "how [much money|many dollars|dear|costly] [is|was|for] [{q}|the {name}|{name}]?",
        "what [did|do|must|will] [we|they|one|somebody] [pay|spend|give] [for|on] [{q}|the {name}|{name}]?",
    ),
    "field_plain": (
        "!$tells [the|its|which|what] {name} [|here|you see|it is]",
        "!$reads [the|its] {name} [|here|on it|of $this $paper|you see]",
        "$polite the {name} [|here|of $this $paper|please]",
        "[and |what about |how about |its |which |what ]{name} [|here|please|is it|is this|is there|was it]?",
        "[what|which] {name} [stands|do you read|do you find|did they print|was printed|has it] [|here|there|on it]?",
        "how does the {name} [read|go]?",
    ),
    "field_cell": (
        "!$tells the {name} [of|for|in row|in the row|next to] {row}",
        "!$reads the {name} [of|for|in row|in the row|that belongs to] {row}",
        "$polite the {name} [of|for|in the row] {row}",
        "{row}[: | - ][|the |its |which |what ]{name}?",
        "[for|at|in row] {row}[, |] [what is the|which is the|the|what's the] {name}?",
        "[what|which] {name} [is|stands|do you see|is shown|is noted|is written] [for|at|next to|in row] {row}?",
        "!find {row} [in the table |] and [say|give me|read] the {name}",
    ),
    "checked": (
        "[is|was] [{q}|the {q} option|the setting {q}|the {q} box] [active|crossed|filled|"
        "switched on|activated|on or off|checked or not|ticked or empty]?",
        "!$tells [if|whether] [{q}|the {q} option|the box {q}|the box next to {q}] is [checked|ticked|active|"
        "enabled|selected|crossed|on|marked]",
        "do you see a [check mark|cross|mark] [at|by|for|beside] {q}?",
        "[state|status] of [{q}|the box {q}|the option {q}][: checked|: ticked|]?",
        "{q}[: |, | - ][on|checked|ticked|selected|active|set][| or not| or off]?",
    ),
    "locate": (
        "!$tells [where {it} is|the place of {it}|the spot of {it}|the $box of {it}]",
        "$polite the [box|bounding box|position|coordinates|place|frame|location] [of|for|around] {it}",
        "[in|at|on] [which|what] [place|spot|position|location|coordinates|point] [is|do I see|do you see|can one see|"
        "can I find|do I find] {it}?",
        "where [do you see|can you see|could|did they put|is the place of|exactly is|on it is|"
        "do they show|would one find] {it} [|be]?",
        "!search [for|] {it} [|and box it|and mark it|and give the box|and tell me where it is]",
        "![outline|circle|look for|seek|pick out] {it} [|with a box|here]",
        "{it}[: |, ][position|coordinates|box|box please|which place]?",
    ),
    "locate_shape": (
        "$polite the [box|bounding box|coordinates|frame|bbox] [of|for|around] {it}",
        "!$tells the [box|bounding box|coordinates|bbox] [of|for] {it}",
        "![search for|look for|circle|select|seek] {it} [and give the box|with a box|with coordinates]",
        "{it}[: |, ][box|coordinates|bbox|box please]?",
        "[what|which] [box|frame|bounding box] [fits|surrounds|goes around] {it}?",
    ),
    "list": (
        "!$tells [all |all the |the |every one of the ]{what} [|you see|you find|here|in $this $paper|that are there]",
        "!$reads [all |all the |the ]{what} [|one by one|you see|here|from $this $paper|in order|on $this $paper]",
        "$polite [a list of |all |all the |the |the names of the |a list of all ]{what}",
        "[what|which] {what} [are available|are offered|can be seen|are on it|does $this $paper have|"
        "are present|do you find|can I use|appear]?",
        "{what}[: |, ][which|what|list|all of them|which are there|names]?",
        "[what|which] [are|would be] [all |]the {what} [|on it|there|you see|in $this $paper]?",
    ),
    "at": (
        "!$tells what [is|stands|can be seen] at [{p}|point {p}|position {p}|the coordinates {p}]",
        "[what|which one|which control] [sits|is shown|can be found|is placed|do I find|is there] at "
        "[{p}|point {p}|position {p}|coordinates {p}]?",
        "if I [click|press|touch] [at |on |]{p}[, |] what [is it|do I hit|do I get|is there|is pressed]?",
        "$polite the [label|name|text|control] at [{p}|point {p}|position {p}]",
        "{p}[: |, ][what|what is there|which control|label|what is it]?",
    ),
    "html": (
        "$polite [the |some |clean |]html [code |source |markup |]"
        "[of|for|from] [$this window|$this $paper|it|this|the dialog|the layout]",
        "![express|encode|describe|represent|render|mark up|save|put|bring] [$this window|$this $paper|it|"
        "the dialog|this] [as|in|into] [html|HTML|html code|HTML tags|markup]",
        "![build|produce|make|code|draft|compose|prepare] [a page|a web page|html|an html version|HTML code|the html] "
        "[|like this|of it|for it|for this|from this|that looks like this]",
        "[html|HTML|source] [code |][of it|of this|of the window|needed|wanted|now|only|from this]",
    ),
    "color": (
        "!$tells [the|its] $hue of the {name}",
        "!$tells [which|what] $hue the {name} [is|has|shows]",
        "$polite the $hue of the {name}",
        "[what|which] $hue [do you see on|did they give|belongs to|was chosen for|fills|covers] the {name}?",
        "the {name}[: |, | - ][what $hue|which $hue|what is its $hue]?",
        "[in what $hue|in which $hue|with what $hue] [is|was] the {name} [colored|coloured|painted|filled|drawn|"
        "shown|printed|tinted]?",
        "is the {name} [red, blue or green|red or blue|green or yellow|black, white or gray|dark or bright]? "
        "[which|what color|which color is it|name it|what colour]?",
        "$hue [of |for |][the |]{name} [|please|is|only]?",
        "!look at the {name} and [say|name|tell me|give me] [its $hue|the $hue|which $hue it is]",
    ),
    "kind": (
        "!$tells [what|which] [shape|figure|form|kind of shape] [is {color}|the {color} one is|the {color} thing is]",
        "!$tells the [shape|form|kind|type|name] of the {color} [one|thing|object|figure|element]",
        "$polite the [shape|name|kind|type] of the {color} [one|thing|object|item|figure]",
        "the {color} [one|thing|object|item|shape|figure|element][: |, | - ][what is it|which shape|which form|"
        "what shape|name it|its shape|kind]?",
        "[what|which] [type|sort|class|form|outline] [of shape |of figure |]"
        "[is|has] the {color} [one|thing|object|element|figure]?",
        "is the {color} [one|thing|object|item] a [star, a heart or a circle|square or a circle|circle or an oval|"
        "cross or a star]? [which|what is it|what shape|name it|tell me]?",
        "[what|which] [one|thing|item|element] [here is|is painted|is drawn|is shown|appears|was made] [|in ]{color}?",
    ),
    "count": (
        "!$tells [how many {what} there are|the number of {what}|the amount of {what}|the count of {what}]",
        "$polite the [number|amount] of {what}",
        "how many {what} [exist|can I see|can be seen|do you spot|do you count|appear|"
        "are present|are on it|were there|can one see|in total|in all|altogether|exactly]?",
        "[what|which] [number|count] of {what} [is there|do you see|do you get|is shown|do you find]?",
        "{what}[: |, ][how many|how many of them|the number please|how many do you see]?",
        "![count|add up|count out] [the|all|all the|every one of the] {what} [|here|that you see|on $this $paper]",
        "are there [two|three|four|five|many|few] {what}[? | or ][how many|more|fewer|how many exactly]?",
    ),
    "position": (
        "!$tells [where the {name} is|the place of the {name}|the part with the {name}|the side of the {name}]",
        "$polite the [place|position|side|part|region] of the {name}",
        "where [on it|exactly|in it|on $this $paper|in $this $paper|about|roughly] [is|do you see|can I see|lies] "
        "the {name}?",
        "the {name}[: |, | - ][where is it|which side|what place|which part|position|left or right]?",
        "[in|on|at] [which|what] [spot|place|section|half|third|corner|side|part|edge] [is|do I see|do you see|lies|"
        "sits] the {name}?",
        "!look for the {name} and [say|tell me] [where it is|its place|which side it is on|the part]",
    ),
    "position_side": (
        "!$tells [what|which shape|which one|which figure] [is|lies|stands] {side} the {name}",
        "$polite [the shape|the figure|the object|the thing|what is] {side} the {name}",
        "[what|which] [one|shape|figure|item|object|thing|element] [lies|sits|do I see|was put|is drawn|is shown|"
        "is placed|is located] {side} the {name}?",
        "{side} the {name}[: |, ][what|which shape|which one|what is it|what do you see|which figure]?",
    ),
    "chart_value": (
        f"!$tells the [value|number|height|size|amount|level|count] [of|for] [{{q}}|{{name}}|the bar {{q}}] {_CHART}",
        "!$reads the [value|number|height|amount|level|count] [of|for|at|behind|above|next to] "
        "[{q}|{name}|the bar {q}|the bar of {q}]",
        "$polite the [value|number|height|amount|level] [of|for|at] [{q}|{name}|the bar {q}]",
        "[what|which] [number|amount|height|level|size|count|result|score|quantity] [has|does|is|is shown for|"
        "do you see for|is given for|do you read for|stands at|was reached by] [{q}|{name}|the bar {q}][| have| show]?",
        "[{q}|{name}|bar {q}|the bar {q}][: |, | - | ][value|how much|how many|which value|what value|number|"
        "how high|how tall|what number|is how much]?",
        "how [much|many|high|far|tall|large|big] [does|did|is|was] [{q}|{name}|the bar {q}] "
        "[|reach|go|show|have|make|count]?",
        "what [does|did] [{q}|{name}] [reach|show|make|have|count|say]?",
        "[and |what about |how about |value: ][{q}|the bar {q}|the value of {q}]?",
        "[at|for|with] [{q}|{name}] [what|how much|how many|which value|what number] [is it|do you read|do you see|"
        "is there|is shown]?",
    ),
    "chart_highest": (
        f"[which|what] $bars [is|was|looks|has become] [the |]$very{_MOST} {_CHART}?",
        f"[which|what|who] [$bars|of them|of these|of the bars] [has|got|shows|reaches|scored] the $very{_MOST} "
        f"[value|number|score|count|amount|bar|height] {_CHART}?",
        f"!$tells [the|which is the|what is the] {_MOST} [bar|column|category|item|label] {_CHART}",
        f"!$reads the [name|label] of the {_MOST} [bar|column|category|one|value] {_CHART}",
        f"$polite the [name of the |label of the |]{_MOST} [bar|column|category|item|one]",
        f"[|the |name of the |label of the |its ]{_MOST} [bar|column|category|item|value|entry|score|number|one]"
        f" [|please|is which|is called] {_CHART}?",
        f"[where|at which bar|for which label|for what|in which category] is [the|its] "
        f"{_MOST} [value|number|point|bar] [reached|found|shown|]?",
        "[who|which|which one|which bar|what] [is first|has won|is winning|is leading|is ahead|is in front|"
        "tops the list|sold the most|got the most|has the most|reaches highest|goes up the most|is on top|"
        f"dominates|beats the rest|rises the highest|stands out] {_CHART}?",
        "[the front runner|the champion|the best one|the number one] [|is who|is which|here is|of this chart]?",
        "!$tells [the front runner|the champion|who is winning|who is leading|the best of them] [|here]",
    ),
    "chart_lowest": (
        f"[which|what] $bars [is|was|looks|has become] [the |]$very{_LEAST} {_CHART}?",
        f"[which|what|who] [$bars|of them|of these|of the bars] [has|got|shows|reaches|scored] the $very{_LEAST} "
        f"[value|number|score|count|amount|bar|height] {_CHART}?",
        f"!$tells [the|which is the|what is the] {_LEAST} [bar|column|category|item|label] {_CHART}",
        f"!$reads the [name|label] of the {_LEAST} [bar|column|category|one|value] {_CHART}",
        f"$polite the [name of the |label of the |]{_LEAST} [bar|column|category|item|one]",
        f"[|the |name of the |label of the |its ]{_LEAST} [bar|column|category|item|value|entry|score|number|one]"
        f" [|please|is which|is called] {_CHART}?",
        f"[where|at which bar|for which label|for what|in which category] is [the|its] "
        f"{_LEAST} [value|number|point|bar] [reached|found|shown|]?",
        "[who|which|which one|which bar|what] [trails|is last|has lost|is losing|is behind|ends the list|"
        "sold the least|got the least|has the least|reaches lowest|goes up the least|is at the end|"
        f"stays smallest|rises the least] {_CHART}?",
        "[the last one|the tail end|the runt|the worst one] [|is who|is which|here is|of this chart]?",
        "!$tells [the last one|the tail end|who is losing|who trails|the worst of them|who is last] [|here]",
    ),
    "when": (
        "!$tells [when|at what time|at which second|after how many seconds] the {name} {does}",
        "$polite the [time|second|moment] [when|at which] the {name} {does}",
        "[when|at what time|at which second] [exactly|roughly|about|] [does|did] the {name} {base} [|in $this $clip]?",
        "the {name} {does}[: |, ][when exactly|at which second|after how long]?",
    ),
    "describe": (
        "!$tells what [is there|you see|$this $paper shows|is on it|can be seen]",
        "$polite a [description|caption|summary|short text] [of|for] [$this $img|it|this]",
        "[what|which things] [is|are] [to be seen|visible|shown|drawn|displayed] [|here|on it|in $this $img]?",
        "![characterize|outline|sketch|caption] [$this $img|the scene|it|what you see] [|in words|briefly|in short]",
    ),
}
"""Patterns beside those of ask_train.TRAIN; forms that are not here have enough."""
