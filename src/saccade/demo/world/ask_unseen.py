"""
Questions that training never sees, written by hand on 2026-11-21 without knowledge of the training grammars.

Their writer had read the presets and, by oversight, what stands around a question (frames, openings, closings), but no
pattern of a form. At least thirty ways to ask for each form, fifteen where four forms share a task, ` / ` between them.
None of them can come out of the training grammar (a test holds this): 151 of the 864 first written could, and were
left out or replaced. Places are filled as there.
"""

from __future__ import annotations

import re

_SEPARATOR = re.compile(r"\s+/ ")
_WRITTEN: dict[str, str] = {
    "read": """
        Could you type out everything that's written in this image for me? / Transcribe this. / I can't read this very
        well, what does the text say? / Please transcribe all of the text you can see, keeping the line breaks. / Copy
        the text out of this picture so I can paste it somewhere / I need the full text of this, word for word. / OCR
        this please / Extract the text / Could you read this out loud to me, from top to bottom? / tell me everything it
        says / What is the wording in this picture? / Turn this photo into plain text. / Everything written here,
        please, line by line. / My eyes are bad. What does it say in this picture? / Can you make out what is written
        there? / Write down all the words and numbers in the picture. / i just need the text from this pic / Would you
        mind typing up what this says? / Get me the text from this image, nothing else. / Spell out the complete
        contents of this page for me / I'd like a transcript of this page. / Retype this for me exactly as it stands.
        / Which words are on this image? All of them please. / Full transcription, no comments. / Hi! Someone sent me
        this as a picture, could you give me the text in it? / convert to text / Read it to me, the whole thing / Please
        output the text content of this image verbatim / Can you get the writing off this picture for me? / I have to
        retype this, please give me the text so I can copy it.""",
    "line": """
        what's on the {nth} line / Could you read me just the {ordinal} line? / Give me the text of line {n} only. / I
        only need the {ordinal} line, what does it say? / Transcribe line number {n} please / Which words are in the
        {nth} line from the top? / Counting from the top, what is the {ordinal} line? / Can you tell me what is written
        on line {n}? / Skip the rest and type out the {ordinal} line for me. / What do you see written on the {nth}
        line? / Copy line {n} exactly. / the {ordinal} line please, nothing else / Please quote the {ordinal} line of
        the text. / How does the {nth} line read? / I'm having trouble with the {ordinal} line. What does it say? / just
        line {n} / Look at the {nth} line from the top and tell me what it says. / What's the text in row {n} of the
        page, counting lines from the top? / Extract only the {nth} line of this text. / Could you spell out line no.
        {n}? / Which text stands in line {n}? / show me what's on line {n} / Type line {n} for me, word for word.
        / Start at the top and go to the {ordinal} line: what is written there? / Would you mind reading the {ordinal}
        line of this to me? / What's printed in the {ordinal} line? / only the {nth} line, as text / Hi, could you tell
        me the content of line {n} in this picture? / Find the {ordinal} line and write it down. / my question is about
        the {ordinal} line only, how does it go? / From the text in this picture, please give me the {nth} line and no
        other.""",
    "total": """
        How much was it all together? / How much did I spend? / what's the final amount on this receipt / Could you tell
        me what the bill came to? / What does the whole thing cost? / Give me the grand total of this receipt. / I need
        the total amount from this receipt for my expense report. / What was the sum at the end? / How much is the bill
        in total / What did this purchase come to, including everything? / Which amount is printed as the total?
        / Please look up the final sum on this bill. / How much money is due here? / What is the overall price? / I just
        want to know how much this was in total. / and how much did they charge altogether? / What's the sum total on
        the slip? / Find the total on the receipt and tell me the amount. / How expensive was the entire purchase?
        / What number is next to the total? / so what do I owe / Can you check what the total on this one is? / The
        receipt's total, please. / what did all of this cost me / How much did the customer pay overall? / Tell me the
        complete amount, tax and everything. / I'm splitting this bill with a friend, what's the full amount? / What's
        the bottom line on this receipt, in money? / Everything on this receipt together, how much is that? / What
        amount should I write down as the total for this receipt?""",
    "field": """
        What does it say in the {q} field? / What's entered under {q}? / Could you tell me what has been filled in for
        {q}? / {q}: what's the entry? / I need to know what is written next to {q}. / What was entered as {q} on this
        form? / Please read the {q} field to me. / What value does {q} have here? / look up {q} for me / Which value is
        in the box called {q}? / Find {q} and tell me what is in it / What's {q} set to? / What has this person written
        in the field for {q}? / Can you see what was typed into {q}? / Tell me only the contents of the {q} field.
        / What information is given for {q}? / and {q}, what does that say? / Extract the value belonging to {q}. / What
        is filled in where it says {q}? / Would you read out the entry for {q}, please? / content of the {q} field
        / What text is there in the {q} box? / I can't make out the {q} field. What's in it? / Which answer was given at
        {q}? / Copy what's in {q}, just the value. / There is a field named {q}. What does it contain? / Whats in the
        {q} box / Let me know what they filled in at {q}. / For {q}, what was entered? / Please report the value shown
        for {q} / Somebody filled in {q} here. With what?""",
    "field_price": """
        How much did they charge for {q}? / what did I pay for {q} / What's the price of the item {q}? / price for {q}
        please / How expensive was {q}? / Could you check what {q} was on this receipt? / Find {q} on the receipt and
        tell me how much it was. / I'd like to know the amount next to {q}. / {q}, how much was that? / What amount is
        listed for {q}? / What's the cost of {q} according to this bill? / Please tell me what was charged for {q}.
        / And how much money went on {q}? / Which price is printed behind {q}? / Look for {q} and give me its price
        / How much does the line with {q} come to? / What do they want for {q} here? / Give me just the price of {q}.
        / So what did {q} come out at? / I bought {q}. How much was I charged for it? / What does the receipt say for
        {q}, price-wise? / Amount for {q}? / Read me the price that belongs to {q} / What was the sum for {q}? / Tell me
        how much {q} cost me. / What is {q} priced at? / For {q}, what price is shown? / My friend wants to pay me back
        for {q}, how much was it? / Would you look up how much {q} was, please? / Of all the things on the receipt I
        only care about {q}. What was its price?""",
    "field_plain": """
        Which {name} do you see? / Can you read the {name} to me? / I'm looking for the {name}, what is it? / the {name}
        please / What does it give as the {name}? / Please find the {name} and tell me what it is. / What's shown as the
        {name} here? / Could you look up the {name} for me? / Just the {name}, nothing more. / Do you see the {name}?
        What is it? / What would you say the {name} is? / Read out the {name} / Let me know what the {name} is. / I only
        need to know the {name}. / Extract the {name} from this picture. / Which {name} is given here? / whats the
        {name} in this one / Give me the {name} exactly as it is written. / Can you make out the {name}? / And what
        might the {name} be? / Here, what is the {name}? / What do you read as the {name}? / Identify the {name} please.
        / I couldn't find the {name}. What is it? / Would you mind telling me the {name}? / Could you tell me what the
        {name} is in this image? / Take a look at the {name} and type it out. / Copy the {name} for me / In this
        picture, what is the {name}? / There should be something about the {name} here, what does it say?""",
    "field_cell": """
        What does the table say under {name} for {row}? / How about {row}, what's its {name}? / Look at the row {row}.
        What is in the {name} column? / Give me the value in column {name}, row {row}. / Find {row} in the table and
        tell me its {name} / I need the {name} of {row} from this table. / Could you look up {name} for {row}? / What
        entry does {row} have under {name}? / In the {row} row, what stands under {name}? / Read the cell where {row}
        and {name} meet. / Please tell me what {row} has for {name}. / What's written in the {name} column next to
        {row}? / Only the {name} of {row}, please. / Can you check the {name} that belongs to {row}? / {name} for {row},
        please / Which value do you find at {row} in the column {name}? / Go to {row} and read the value under {name}.
        / tell me the {name} value of {row} / According to the table, what is the {name} of {row}? / And the {name} for
        {row} would be? / What is in the cell {row}, {name}? / Would you read me the {name} shown for {row}? / I want to
        know the {name} for the entry {row}. / Check the table: what does it list as {name} for {row}? / Extract {name}
        from the row of {row}. / What's {row}'s {name}? / Which {name} goes with {row}? / I'm reading this table on my
        phone and it's tiny. What does it give as {name} for {row}? / Please look in the line for {row} and give me
        what's in column {name}. / In this table, which {name} belongs to the row {row}?""",
    "checked": """
        Is the box for {q} ticked? / Is {q} currently switched on? / Please check whether the box next to {q} is marked.
        / yes or no: is {q} selected / Do you see a tick next to {q}? / Was {q} chosen? / Look at {q}. Is it ticked or
        empty? / I want to know if {q} is turned on. / What's the state of {q}, is it checked? / Is there an x or a tick
        in the box beside {q}? / did somebody check {q}? / Is {q} enabled here? / Tell me if {q} has a mark in it. / Is
        the option {q} the selected one? / Would you say that {q} is checked? / Is the {q} box filled in or blank? / Has
        someone put a mark at {q}? / Am I right that {q} is selected? / Is {q} marked, yes or no? / Is the little box at
        {q} checked? / Please verify that {q} is checked. / Does the picture show {q} as selected? / Is {q} one of the
        options that have been selected? / Looking at {q}, is there a mark or is it empty? / Can you tell if somebody
        put a tick beside {q}? / I'm not sure whether I checked {q}, did I? / What about {q}, is that one ticked too?
        / The thing next to {q}, is it filled or not? / Does it look like {q} has been selected to you? / {q} is
        checked, isn't it? / Do I have {q} selected here?""",
    "json": """
        Can I get this {doc} as JSON? / What would this {doc} look like as JSON? / I need the data in this {doc} as JSON
        for a script. / Extract all values from this {doc} and return them as JSON. / Please parse the {doc} and answer
        with JSON only. / Give me a JSON version of this / make json out of this {doc} / Could you put everything in
        this {doc} into a JSON structure? / Output: JSON. Input: the {doc}. / Write the contents of this {doc} down in
        JSON format. / Return the {doc}'s contents as valid JSON. / I'd like to have the information from this {doc} in
        JSON. / Read the {doc} and produce JSON with all its data. / this {doc}, but as json / Transform what you see
        into JSON. / Please encode the {doc} as a JSON object, no explanations. / Would you transcribe this {doc} to
        JSON for me? / Digitize this {doc} for me, JSON format please. / What's the JSON for this {doc}? / Represent the
        data of this {doc} in JSON. / Pull the data out of this {doc} and format it as JSON / I want to import this
        {doc} into my program. Can you give it to me as JSON? / Only JSON in your answer please: what is in this {doc}?
        / Structured data from this {doc}, as JSON. / Show me the content of the {doc} as a JSON document. / Could this
        {doc} be written as JSON? Do it please. / Generate a JSON object that holds all the entries of this {doc}.
        / Build JSON with the keys and values from the {doc} / My program needs JSON. Please give it what is in this
        {doc}. / Take all names and values in this {doc} and make them into one JSON object""",
    "locate": """
        I can't find {it}, where is it? / where's {it} / Can you show me where {it} is? / Could you point out {it} for
        me? / I'm looking for {it}. / bounding box for {it} please / Find {it} and return its box / Where on the screen
        can I see {it}? / Help me find {it}, please. / Whereabouts is {it}? / Mark {it} for me with a box. / Please give
        the position of {it} as a box. / Tell me where {it} is located. / Where exactly is {it} placed? / Box
        coordinates of {it}? / Which area does {it} take up? / Would you detect {it} and give me the bbox? / Let me know
        where I can find {it} / Where in this image do you see {it}? / Get me the coordinates of the box around {it}.
        / I've been staring at this for a minute and can't see {it}. Where is it? / Somewhere here is {it}. Give me its
        bounding box. / Which rectangle of the picture does {it} occupy? / Show me the spot where {it} is. / Can you
        help me get to {it}? Where is it in this picture? / Take a look for {it} and give me the box it is in. / What's
        the bounding rectangle of {it}? / Have you seen {it}? Where? / I want to crop the image to {it}, what are the
        coordinates? / If {it} is in this picture, where is it? / Where on the page would I see {it}?""",
    "locate_shape": """
        Find {it} and give me its coordinates. / bounding box around {it} please / I need the box of {it}, as
        coordinates. / Can you mark {it} with a bounding box? / Return the bbox for {it}. / Could you find {it} and put
        a box around it? / Which box encloses {it}? / Exact location of {it}, please. / Box for {it}? / Tell me the
        coordinates of the box around {it}. / I'd like a tight bounding box for {it}. / Where exactly is {it}?
        Coordinates please. / Show me {it} with a bounding box. / Give the corners of the rectangle that contains {it}.
        / Detect {it} and output the coordinates / What is the bounding box for {it}? / Would you box in {it} for me?
        / From where to where does {it} reach? I need it as a box. / Report the position of {it} as x and y coordinates
        of its box. / Please outline {it} with a box and tell me the numbers. / Localize {it} in the image. / Let me
        have the box coordinates for {it}. / At which coordinates can {it} be found? / What box would you draw around
        {it}? / Find the bounding rectangle of {it}. / Pinpoint {it} with a box. / I want to crop out {it}, which
        coordinates should I use? / Which coordinates mark the area of {it}? / My program has to know where {it} is, so
        give me its bounding box. / Locate {it} for me and answer with box coordinates.""",
    "list": """
        Name all the {what} you can see. / what {what} does this have / Could you list all of the {what} for me? / Tell
        me which {what} are shown here. / I need the names of all the {what}. / Write down the {what}, one per line.
        / Can you go through the {what} and name each one? / What {what} can you see in this picture? / all {what}
        please / Which {what} does it show? / Read me the {what} one after another. / Make a list of all {what} in the
        image / I'd like to know what {what} there are. / Let me see a list of every one of the {what}. / The names of
        the {what}, please. / Which {what} do I have here? / Show all the {what} as a list. / What do the {what} say?
        / Please type out the {what}, each on its own line. / Would you tell me the {what} in order? / Just list the
        {what}, without any comment. / whats the list of {what} here / Extract the {what}. / Do you see any {what}?
        Which ones? / Go over the image and note down all the {what} / Please name the {what} from first to last.
        / Which ones are the {what} in this picture? / I'm making notes, what are the names of the {what}? / Give me the
        {what} you find here, each on a separate line / Can you write out every one of the {what}?""",
    "at": """
        What's located at {p}? / What would I click on at {p}? / What do I find at the coordinates {p}? / Look at the
        point {p}. What's there? / Name the thing at {p}. / What is under the cursor if the mouse is at {p}? / Please
        identify the element at {p}. / What does the point {p} belong to? / I clicked on {p}, what was that? / Which
        item is displayed at location {p}? / What's at {p} in this picture? / Can you say what is placed at {p}? / what
        is that at {p} / Element at {p}? / At {p} there is something. What is it? / What would be pressed by a tap at
        {p}? / Give me the name of whatever is at {p}. / Which part of the window is at {p}? / Read the label of the
        thing at {p}. / Check the spot {p} and tell me what it shows / My mouse pointer is at {p}. What is it on? / What
        lies at the point {p}? / Would you tell me which widget covers {p}? / I'm pointing at {p}, what is it? / Which
        thing can be seen around {p}? / Go to {p}. What do you see there? / There's something around the point {p}, can
        you name it for me? / Suppose I put my finger on {p}. What am I touching? / If you go to the coordinates {p},
        which element do you find? / What is it that I see at {p}?""",
    "html": """
        Convert this to HTML code / What would the HTML for this window look like? / I need this window as a web page,
        give me the HTML. / Recreate this dialog in HTML. / Generate the HTML of this user interface. / Could you code
        this up in HTML for me? / Please produce HTML that matches this screenshot. / html code for this / Translate
        this window into HTML markup. / I'd like to have this dialog as HTML. / Show me the HTML source for this screen.
        / Build this form in HTML, please. Only the code. / How would you write this in HTML? Just give me the code.
        / Reproduce the window shown here as HTML / From screenshot to HTML, please. / Describe this window using HTML
        tags. / Output HTML with the same elements as in the picture. / I want to put this on my website. Can you write
        it as HTML? / Would you transcribe this interface to HTML? / Give me markup, HTML, for everything in this
        window. / Please express this UI as an HTML document. / Which HTML would produce this window? / Return this
        screen's content as HTML, no explanation. / Here's a mockup, please implement it in plain HTML. / Take this
        window and give it back to me as HTML. / I'd like to edit this window in a browser, please give me its HTML.
        / Make an HTML version of what you see here. / What's the HTML that would give me a window like this one? / My
        task is to rebuild this dialog for the web. Please write the HTML for it. / Type up the HTML for the window in
        the screenshot""",
    "color": """
        what colour's the {name} / What's the {name}'s color? / the {name}, what color is it? / I'm color blind. Which
        color is the {name}? / What color did they use for the {name}? / How would you name the color of the {name}?
        / Look at the {name}. Which color is it? / Is the {name} red, green, blue or what? / Which color has the {name}
        been painted in? / I'd like to know the color of the {name} / What color would you say the {name} is? / Would
        you tell me which colour the {name} has? / Say what color the {name} is. / and the color of the {name} is? / Do
        you see the {name}? Tell me its color. / Identify the color of the {name}. / what is the {name}'s colour / What
        is the colour of the {name} in this picture? / Could you describe the color of the {name} in one word? / For the
        {name}, just give me the color. / What colour can you see on the {name}? / Let me know the color of the {name}
        please. / How is the {name} colored? / If you had to name the color of the {name}, what would it be? / I wonder
        what color the {name} is. / Look closely at the {name} and tell me which color it is. / My printer is black and
        white. What color is the {name} supposed to be? / Say the color of the {name}, one word is enough / The {name}
        here, is it blue or some other color? / Which of the usual color names fits the {name}?""",
    "kind": """
        the {color} thing, what shape is it? / What figure is drawn in {color}? / Tell me what the {color} shape is.
        / What form does the {color} figure have? / Which shape did they draw in {color}? / There is something {color}.
        What is it? / Is the {color} one a circle, a square or something else? / Could you tell me the shape of the
        {color} thing? / Which of the shapes is {color}? / shape of the {color} one? / What do you call the {color}
        figure? / I see something {color}, which shape is that? / Can you identify the {color} shape? / What's that
        {color} thing? / Which geometric shape has the color {color}? / Look for the color {color}. What shape has it?
        / Describe the {color} item: what shape does it have? / What exactly is {color} in this picture? / Which shape
        was colored {color}? / The one in {color} is what shape? / I'd like to know what shape the {color} one is.
        / Only one of them is {color}. Which one? / What shape can you see in {color}? / Please say which figure is the
        {color} one. / Find the {color} shape and tell me what it is / If you look at the {color} object, what is its
        shape? / If I look for something {color}, what shape will I find? / Circle, star, square, what's the {color}
        one? / The shape I'm asking about is {color}. Which is it? / I need a name for the shape that is {color}.""",
    "count": """
        Can you count the {what} for me? / Please tell me how many {what} it has. / I need to know how many {what} there
        are in total. / Could you count up all the {what}? / How many {what} do you see here? / What is the total number
        of {what}? / Tell me the number of {what} in this picture. / How many {what} are shown altogether? / How many
        {what} does this contain? / Go through it and count the {what}. / {what}, how many are there? / Any {what}? How
        many? / How many {what} have they drawn or written here? / give me the count of {what} / How many {what} would
        you say there are? / Is there more than one of the {what}? Give me the exact number. / I counted the {what} but
        lost track. How many are there? / Count all {what} and just give me the number / In total, how many {what} do we
        have? / How often do you find {what} in here? Just a number. / What do you get when you count the {what}? / Let
        me know how many {what} you find. / Would you please count how many {what} appear? / The amount of {what},
        please. / Exactly how many {what} does the image have? / I'd like a number: how many {what} are in here? / Could
        you check how many {what} I have here? / Start counting: how many {what} does it come to? / What number of
        {what} do you arrive at? / If you count the {what} one by one, how many are there?""",
    "position": """
        Whereabouts in the picture is the {name}? / Is the {name} at the top, in the middle or at the bottom, left or
        right? / In which corner or area is the {name}? / Roughly where is the {name}? / What part of the picture is the
        {name} in? / Where can the {name} be seen, top left, center, somewhere else? / Tell me in words where the {name}
        is. / Which area of the picture is the {name} in? / Could you describe the position of the {name}? / On which
        side of the picture do you see the {name}? / Please say roughly where the {name} sits. / What's the rough
        position of the {name} in the image? / Where would you say the {name} is, more to the top or the bottom, left or
        right? / Describe in a few words where the {name} is. / I can't see the {name}. Which part of the picture should
        I look at? / In what region of the image does the {name} lie? / Is the {name} in the center or more to one side?
        / Where in the frame is the {name}? / Where has the {name} been placed, in general terms? / Which section of the
        image holds the {name}? / Where is the {name} sitting in the picture? / The {name}, is it left, right, top,
        bottom, center? / Where do you see the {name}? No coordinates please. / If the picture were a 3 by 3 grid, where
        would the {name} be? / Whats the position of the {name}, roughly / Say where the {name} is, like top right or
        bottom left. / Where in the image should I look to see the {name}? / The {name} is in which part of the picture?
        / Where does the {name} appear in the image, upper left, lower right? / Give me the approximate place of the
        {name} in words. / Can you tell me which part of the image to look at for the {name}?""",
    "position_side": """
        Is there anything {side} the {name}? What is it? / Which figure can be found {side} the {name}? / What would I
        find {side} the {name}? / Which object is directly {side} the {name}? / Could you tell me what's {side} the
        {name}? / {side} the {name}, what is there? / Please name whatever is {side} the {name}. / What did they draw
        {side} the {name}? / I'd like to know which shape is placed {side} the {name}. / Which one of the shapes lies
        {side} the {name}? / What's the neighbor {side} the {name}? / Do you see something {side} the {name}? Tell me
        what. / What is sitting {side} the {name}? / There's a shape {side} the {name}, which one is it? / Which shape
        comes next, {side} the {name}? / Can you identify the object {side} the {name}? / What else is there, {side} the
        {name}? / whats the shape {side} the {name} / What has been put {side} the {name}? / And {side} the {name},
        which shape is that? / Would you tell me which figure is {side} the {name}? / What can be seen {side} the {name}
        in this picture? / Describe what is {side} the {name}, color and shape. / Now look at what is {side} the {name}.
        Which shape is it? / If I look {side} the {name}, what will I see? / Next to other things there is the {name}.
        What's the thing {side} the {name}? / Do you know which shape they put {side} the {name}? / My question is
        what's located {side} the {name}. / Which shape would I run into {side} the {name}? / Which of the other shapes
        is {side} the {name}?""",
    "chart_value": """
        what's {q} at / How much is {q} in the chart? / Which value does the chart show for {q}? / Could you tell me the
        number for {q}? / {q}? / Give me the value for {q} from this chart. / How big is the bar for {q}? / What does
        the bar of {q} stand at? / Please look up {q} in the diagram and tell me its value. / I need the figure for {q}.
        / How many does {q} have according to the chart? / What's the height of the bar {q}, as a number? / Check the
        bar labelled {q}. What value is it? / Up to which number does {q} go? / Which number belongs to {q}? / value for
        {q} please / What does {q} come to in this graph? / Can you read the value of the {q} bar? / According to the
        graph, what is {q}? / Just the number for {q}. / What is {q} worth in this bar chart? / I can't read the bar for
        {q}, what value is it? / On this chart, what's the value at {q}? / Would you estimate the value of {q}? / Find
        {q} and read its value from the chart / For {q}, which value is plotted? / Going by the axis, what value does
        {q} reach? / I need to enter {q} into a spreadsheet, which number is it? / How did {q} do, what's its number in
        the chart? / Let me know which value is drawn for {q}.""",
    "chart_highest": """
        What has the highest value? / who's on top in this chart / Which category has the maximum? / What is the leader
        in this chart? / Which entry scores highest? / Where does the chart peak? / Which of these is the most? / Could
        you tell me which label has the largest number? / I want to know which one came out first. / the biggest bar is
        which one? / Which bar is the winner here? / What's the maximum in this graph, which label? / Look at the bars,
        which of them has the highest number? / Which label belongs to the tallest one? / What is the top category?
        / Find the bar with the highest value and tell me its name / Whose bar is the longest? / Out of all the bars,
        which stands out as the largest? / Can you see which bar beats all the others? / Please tell me who has the
        most. / Which one has more than all the rest? / Top bar? / What comes first if you sort the bars from large to
        small? / Give me the name of the category that is highest. / What's number one in this diagram? / Which item in
        the chart has the greatest amount? / Which bar would you say is the tallest of them all? / Who is ahead of
        everybody else in this graph? / If this were a competition, which bar would take first place? / Going by the
        chart, which label has the biggest number?""",
    "chart_lowest": """
        What has the lowest value? / who's last in this chart / Which category has the minimum? / What comes in last in
        this chart? / Which entry scores lowest? / Where is the low point of the chart? / Which of these is the least?
        / Could you tell me which label has the smallest number? / I want to know which one came out last. / the
        smallest bar is which one? / Which bar is the loser here? / What's the minimum in this graph, which label?
        / Look at the bars, which of them has the lowest number? / Which label belongs to the shortest one? / What is
        the weakest category? / Find the bar with the lowest value and tell me its name / Whose bar is the shortest?
        / Out of all the bars, which is the tiniest? / Can you see which bar is below all the others? / Please tell me
        who has the least. / Which one has less than all the rest? / What comes first if you sort the bars from small to
        large? / Give me the name of the category that is lowest. / What's at the bottom of the ranking in this diagram?
        / Which item in the chart has the smallest amount? / Which bar would you say is the shortest of them all? / Who
        is behind everybody else in this graph? / If this were a competition, which bar would take last place? / Going
        by the chart, which label has the smallest number? / Which one has the tiniest bar?""",
    "when": """
        how many seconds in does the {name} {base} / Tell me the moment the {name} {does}. / Could you tell me at which
        point in the video the {name} {does}? / What's the timestamp when the {name} {does}? / the {name} {does}, when
        is that? / How far into the video does the {name} {base}? / Give me the second where the {name} {does}. / Please
        find the time in the clip when the {name} {does}. / In which second can you see that the {name} {does}? / When
        in the video does the {name} {base}? / Do you know when the {name} {does}? / At what timestamp does the {name}
        {base}? / Watch the {name} and tell me when it is that the {name} {does}. / I missed it, when does the {name}
        {base}? / So when did you see the {name} {base}? / Where in the clip does the {name} {base}, in seconds? / What
        time is it in the video when the {name} {does}? / Note the time when the {name} {does}. / timestamp please: the
        {name} {does} / How much of the video has passed when the {name} {does}? / How many seconds pass before the
        {name} {does}? / At some point the {name} {does}. When? / What second does the {name} {base} at? / Can you say
        when it happens that the {name} {does}? / From the start of the video, how long until the {name} {does}? / To
        which second should I jump to see how the {name} {does}? / I'd like to skip to where the {name} {does}, which
        second is that? / Looking at the clock of the video, when does the {name} {base}? / The {name} {does} somewhere
        in this clip. After how long? / Please give me the number of seconds until the {name} {does}.""",
    "video_appears": """
        Which shape shows up later on? / What new shape comes in? / Something appears in this clip. What is it? / which
        one shows up that wasn't there at the start / What object enters the video? / Which figure is added during the
        video? / What shape can be seen at the end but not at the beginning? / What's the new one? / Does something show
        up? Which shape? / Could you tell me what appears in the video? / Which shape joins the others after a while?
        / What suddenly becomes visible? / Which of the shapes is not there from the start? / Which shape do you see
        popping up partway through? / At first it isn't there, then it is: which shape? / Any shape that comes in during
        the clip? Which one?""",
    "video_leaves": """
        Something is gone at the end of the clip. What is it? / which one is no longer there at the end / What object
        drops out of the video? / Which figure is removed during the video? / What shape can be seen at the beginning
        but not at the end? / What's missing later on? / Does something vanish? Which shape? / Could you tell me what
        goes away in the video? / Which shape doesn't stay until the end? / What suddenly stops being visible? / Which
        of the shapes is there at first and then gone? / Which shape do you lose sight of partway through? / At first it
        is there, then it isn't: which shape? / Any shape that goes away during the clip? Which one? / Who leaves the
        scene?""",
    "video_moves": """
        Where is the {name} heading? / which direction is the {name} moving / Is the {name} moving left, right, up or
        down? / Tell me where the {name} moves to. / The {name} is moving, in which direction? / What is the direction
        of the {name}? / Which way is the {name} going? / Describe how the {name} moves. / Could you tell me which
        direction the {name} travels in? / To which side does the {name} drift? / Where does the {name} go in this
        video? / Follow the {name}. Which way does it go? / What way does the {name} slide? / How does the {name} move
        across the screen, which direction? / Does the {name} go up, down, left or right? / As the video goes on, which
        way does the {name} wander?""",
    "video_color": """
        At {seconds} seconds, which color does the {name} have? / what colour is the {name} {seconds} seconds in / Stop
        at {seconds} seconds. What color is the {name}? / Which color has the {name} got after {seconds} seconds? / Tell
        me the color of the {name} at second {seconds}. / What's the color of the {name} at {seconds} s? / When
        {seconds} seconds have passed, what color is the {name}? / Go to {seconds} seconds and name the color of the
        {name}. / The {name} at {seconds} seconds is which color? / {seconds} seconds into the video, what color do you
        see on the {name}? / Could you check which color the {name} is at the {seconds} second mark? / How is the {name}
        colored at {seconds} seconds? / What color would I see on the {name} if I paused at {seconds} seconds? / Look at
        the {name} at time {seconds}s, which color is it? / I need to know the color that the {name} has at {seconds}
        seconds. / Pause it at {seconds} seconds: the {name} is what color?""",
    "describe": """
        Tell me about this image. / what is this / Can you explain what is shown here? / What can be seen in the image?
        / I can't see the picture, could you describe it to me? / What does this show? / How would you describe this to
        somebody who can't see it? / Summarize the image for me. / Say in a sentence or two what this is. / picture
        description please / Walk me through this picture. / What's going on in this image? / Explain this picture / I
        need an alt text for this picture. / What's all in there? / Put into words what is shown in the picture. / Would
        you tell me what you can see here? / Give me an overview of what is in the image. / So, what do we have here?
        / What is depicted here? / Have a look and tell me what you see / Which things are there in the picture and
        where? / In your own words, what is this a picture of? / I'm blind, please tell me what this picture looks like.
        / Suppose I can't open the file. What would I see in it? / Please give me a rough idea of what this image looks
        like. / My screen is broken, what's shown in this picture? / Would you say in a few words what this image is?
        / Talk me through what you see here / What would you tell a friend on the phone about this picture?""",
    "describe_video": """
        what's going on in this clip / Can you describe what takes place in this clip? / Explain what's happening in the
        video. / Please describe the clip in a few words. / What is shown in this video? / Tell me about this video. / I
        can't watch it right now, what happens in the video? / Give me a short summary of the clip. / Walk me through
        the video from start to finish. / What changes over the course of the video? / Describe what you see from
        beginning to end. / What can be seen in the clip? / Say in a sentence or two what happens in this recording.
        / video description please / What takes place here, in order? / How would you describe this video to someone who
        hasn't seen it? / Could you tell me how the video goes? / Put the events of the video into words. / Which things
        happen in the video, and to which shapes? / Watch this and tell me what happens / I'd like a description of what
        goes on in the video. / Write a caption for this video. / What did you see happening? / Recount what happens in
        this short film. / Let me know everything that happens in this video. / I missed the video, can you tell me what
        went on? / What would I see if I watched this clip? / How does the scene change as the video plays? / Who or
        what moves, comes or goes in this video? / Please tell the story of this clip""",
}
UNSEEN: dict[str, tuple[str, ...]] = {
    form: tuple(" ".join(question.split()) for question in _SEPARATOR.split(text.strip()))
    for form, text in _WRITTEN.items()
}
