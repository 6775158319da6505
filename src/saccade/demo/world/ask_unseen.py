"""Questions that training never sees, written by hand: thirty ways to ask for each form, ` / ` between them.

None of them can come out of the training grammar (a test holds this); places are filled as there.
"""

from __future__ import annotations

import re

_SEPARATOR = re.compile(r"\s+/ ")
_WRITTEN: dict[str, str] = {
    "read": """
        Could I get the contents as plain text? / I can't make this out, what does the writing say?
        / Text recognition, go ahead. / Turn this scan into text for me / Reproduce every word you can find
        / What does the author write here? / Spell out everything that is on it / Dump the text
        / I need the wording exactly as shown / Please do a full transcript of this
        / Tell me word for word what is there / Get the text out of this for me / Digitize this page please
        / let me have the text / Which words appear here? / what message is on the picture
        / Go through it and read everything aloud / Just the raw text, nothing else
        / Recognize the characters in this image. / I'd like to know what is written / Type this up for me
        / Can you make out the words? / Wich words are on it? / Provide a transcript
        / your job: copy the letters you see / Quote the text of this picture / Convert the image to text
        / Please put the visible text into words / read this for me, my eyes are bad
        / everything that is written there, line by line""",
    "line": """
        Only give me row {n} / Could you quote line {n} for me? / I just need the {ordinal} row of text
        / what's on row number {n} / Skip to line {n} and read it out / Which words make up the {ordinal} line?
        / Text in the {nth} row? / line #{n} / Copy out line {n} only
        / Counting from the top, what does line {n} say? / Let me hear the {ordinal} line
        / The {nth} line from the top, what is it? / Repeat line {n} word for word / transcribe line {n}
        / Go to line {n}. What stands there? / Content of the {ordinal} line please
        / what did they write in the {nth} line / Pick out line {n} / I want the {nth} line and nothing else
        / Type line {n} / Extract the {ordinal} line of the text / Please quote just the {nth} line.
        / Which text do you find in row {n}? / from top to bottom, the {ordinal} line / How does line {n} read?
        / Line {n} reads...? / Say line {n} / What would I read in line {n}? / What's the wording of line {n}?
        / could i have line {n}""",
    "total": """
        What's the sum at the end? / How much money is that in all? / What do I owe? / Bottom line?
        / What did the customer pay overall? / So how much was it all together?
        / Add-up at the end of the receipt? / What number stands beside TOTAL?
        / I need the overall amount for my expenses / how expensive was this shopping trip
        / Check the receipt and report its final sum. / What was the bill? / How many euros or dollars in total?
        / the figure in the total line / What does the shop charge overall? / Tell me how much it came to
        / What is the whole bill? / The overall price, please / how much did we spend / Final sum?
        / What is payable? / Look at the receipt: what is the end sum? / The end amount?
        / Could you look up the total for me? / What amount must be settled? / find the total amount
        / What's our total bill here? / At the very end, what sum is shown? / how much does everything come to
        / Receipt total, please.""",
    "field": """
        Which entry do you find under {q}? / What did the person put for {q}? / Look up {q} in the form / {q} = ?
        / I'd like to know what {q} says / What text has been typed into {q}? / Someone filled in {q}, with what?
        / Could you check what {q} is set to? / Under {q}, what can be read? / What answer was given for {q}?
        / contents for {q} please / find {q} and read what follows / What comes after {q}? / Value for {q}?
        / Tell me the entry next to {q} / how did they fill in {q} / The form has a field {q}; what is in there?
        / What information is provided under {q}? / what goes with {q} / What did someone enter as {q}?
        / Copy the text behind {q} / Extract {q} / Please look at {q} and tell me what it holds / {q}: ?
        / what can you tell me about {q} / Quote the entry of {q} / Beside the label {q} stands what?
        / I am looking for the value under {q} / What is currently filled in at {q}? / get {q} from this form""",
    "field_price": """
        How expensive is {q}? / What am I charged for {q}? / {q}, how much? / Which amount is printed beside {q}?
        / What do they want for {q}? / Look up what {q} costs / I'd like to know the price for {q}
        / How much money was spent on {q}? / What did I pay for {q}? / How much does the shop charge for {q}?
        / Tell me how much {q} was / What sum is listed with {q}? / find {q} on the receipt and say its price
        / check the price of {q} / what was {q} again, in money / price tag of {q}? / {q} costs what?
        / How much did they take for {q}? / What figure stands next to {q}? / The line with {q}: what price?
        / what is {q} worth here / Could you look up {q}? How much is it? / The receipt lists {q}. At what price?
        / What is the charge for {q}? / Say the amount on the {q} line / How many did {q} cost?
        / at what price was {q} sold / {q} for how much / what's to pay for {q}? / Get the cost of {q}""",
    "field_plain": """
        Can you find the {name}? / Look for the {name} and read it / Which {name} would I note down?
        / {name}, please? / Do you see the {name}? What is it? / Could you tell me what the {name} is?
        / find out the {name} / Which is the {name} here? / the {name} please
        / Where it gives the {name}, what stands there? / please fetch the {name} / what would be the {name}
        / The {name} reads how? / Quote the {name}. / How is the {name} given? / Extract the {name}
        / Copy the {name} / can you see a {name}? read it / Say the {name} / Please look up the {name}.
        / wat is given as the {name} / I am looking for the {name} / get me the {name}
        / check the {name} and tell me / what was the {name} again? / Pull out the {name} for me
        / The {name} is...? / Simply say the {name} / Identify the {name}. / any idea what the {name} is""",
    "field_cell": """
        Look at {row}: what {name} do you find? / For {row}, how about the {name}?
        / Find {row} and read its {name} / Which entry is under {name} for {row}?
        / What does {row} have as {name}? / {row}, {name}? / Check the table: {name} of {row}?
        / I need the {name} that belongs to {row} / in the line {row}, what is the {name}
        / Under {name}, what stands for {row}? / Could you look up {row} and tell me the {name}?
        / How is the {name} given for {row}? / Where {row} and {name} cross, what is written?
        / what about {row}, its {name} / Tell me {row}'s {name} / {row}'s {name}?
        / Say what {name} goes with {row} / Extract the {name} for {row} / get the {name} from the row of {row}
        / Get me {row}, the {name} / Table lookup: row {row}, column {name}.
        / The {name} entry next to {row} please / Which {name} do they list with {row}?
        / the row is {row}, the column is {name}, what is in it / Quote the {name} of {row}
        / Search {row} and report {name} / For the row {row} I want the {name} / What did {row} get for {name}?
        / {row} has what {name}? / Please find out the {name} of {row}""",
    "checked": """
        Can you see a tick next to {q}? / Is there an x in the box for {q}? / Did the person choose {q}?
        / Was {q} selected by the user? / {q}: yes or no? / Has anyone ticked {q}? / Look at {q}. Is it on?
        / What about {q}, is it active? / Is {q} turned on? / Is the tick box beside {q} filled?
        / I wonder whether {q} was chosen / Do we have a check at {q}? / Is {q} enabled? / {q} is marked, right?
        / Do you see a mark in front of {q}? / State of {q}, checked or unchecked? / has {q} got a tick
        / Was {q} picked? / would you say {q} is selected / Look whether {q} is switched on
        / Is the option called {q} active? / is the little square at {q} ticked / can you confirm {q} is checked?
        / {q} enabled or disabled? / Does the form say yes to {q}? / tick at {q}?
        / Am I right that {q} is checked? / Verify whether {q} is marked / is {q} chosen
        / Did {q} get a check mark?""",
    "json": """
        I need this structured: JSON please / Serialize the {doc} / Produce machine-readable JSON for this {doc}
        / Can I have a JSON version of this {doc}? / Make JSON out of it / Structure the information as JSON
        / what would the JSON for this {doc} be / Give me an object with all keys and values, in JSON
        / Encode what you see as JSON. / Represent the {doc} in JSON / dump as json
        / Answer in JSON: what is on this {doc}? / Build a JSON object from the {doc}
        / Write everything into a JSON structure / Let me have the JSON / json output of the {doc} pls
        / Collect the data in JSON / Put what you read into JSON / Scan the {doc} and hand me JSON
        / Could this {doc} be written as JSON? / reply with json only
        / I want to load this {doc} into a program, JSON please / Data extraction: JSON
        / Format the contents in JSON / Get me the JSON representation / transcribe this {doc} in json
        / Map this {doc} to JSON / Everything on the {doc} as a JSON / create a json of this
        / Digest this {doc} into JSON""",
    "locate": """
        Which region holds {it}? / Can you spot {it}? / I am looking for {it}, where is that? / help me find {it}
        / Please highlight {it}. / Whereabouts is {it}? / give coordinates for {it} / In which area do I see {it}?
        / Frame {it} for me / Would you know the place of {it}? / Return the rectangle of {it}
        / Select {it} on the screen / What rectangle encloses {it}? / I want to click {it}, where do I go?
        / Search for {it} and report its box / Pinpoint {it} / indicate {it} / {it}, where is it?
        / Do you know where {it} sits? / Ground {it} in the image. / Put a rectangle around {it}
        / Let me see where {it} is placed / Region of {it}? / I can't find {it} / Enclose {it} / x and y of {it}?
        / bounds of {it} / My mouse should go to {it}, at which place? / Where exactly is {it} shown?
        / spot {it} for me""",
    "locate_shape": """
        Which rectangle holds {it}? / Give the region of {it} as a box / Please highlight {it} with a box.
        / Frame {it} for me / Report the rectangle of {it} / What rectangle encloses {it}?
        / Search for {it} and report its box / Put a rectangle around {it} / Box coordinates for {it}
        / Enclose {it} / bounds of {it} please / Could you localize {it}? / Ground {it} in the image.
        / {it}: bounding box? / Select {it} with a rectangle / I need bbox numbers for {it}
        / Where does {it} start and end? Box please. / x1, y1, x2, y2 of {it}? / Pinpoint {it} with coordinates
        / Object detection: {it} / Make a box that contains {it} / Which box contains {it}?
        / Segment out {it} as a box / surround {it} with a box / Can I have the pixel region of {it}?
        / What are the bounds of {it}? / Extent of {it}? / compute the bbox for {it} / Crop region for {it}?
        / Tell me the corners of {it}""",
    "list": """
        Can you go through the {what} one by one? / I'd like an overview of the {what}
        / Tell me every one of the {what} / What are all these {what}? / Do you see any {what}? Which?
        / Collect the {what} / Make a list: {what} / Please write down each of the {what}.
        / Let me know what {what} exist here / Which ones are the {what}? / {what} present here?
        / What {what} does the window offer? / Read out the {what} / could you read me the {what}
        / I want to know the {what} / Go over the {what} / Itemize the {what} / Find every one of the {what}
        / the labels of all {what} / Report the {what}, one per line. / Which {what} could you name?
        / the {what} one after another / Look for {what} and tell me their labels / Extract the {what}
        / Summarize which {what} exist / What do the {what} say? / what {what} do we have / Say all {what}
        / Identify all of the {what} / Get the {what}""",
    "at": """
        If I tap {p}, what is it? / Look at {p}: which text? / Which label has the control around {p}?
        / What lies at {p}? / My finger is on {p}. What is there? / What did I touch at {p}?
        / {p} belongs to which element? / Identify the element at {p} / Tell me what sits at {p}
        / Under the point {p}, what do you find? / a click at {p} hits what / Which thing covers {p}?
        / what text is around {p} / name the control at {p} / I pointed to {p}, what is that?
        / Cursor at {p}. On what? / What is located at {p}? / Which button is under {p}?
        / what do I have at x, y = {p} / Which control contains {p}? / hit test {p} / Find the element under {p}
        / I click on {p}. What did I press? / Describe the thing at {p} / What stands near {p}?
        / What UI element is at {p}? / Where {p} is, what text do you read? / point {p}: label?
        / Element at {p} please / what's under {p}""",
    "html": """
        Can I get a web page that looks like this? / Code this up / I need the markup for this dialog
        / Produce matching HTML / Let me see HTML for this screenshot / Render this as a web page source
        / Markup, please. / Build the same window as a web page / Please express the form in HTML tags
        / Translate the UI to web code / Web version of this window? / which HTML produces this
        / screenshot to code / Implement this dialog in HTML / Write a webpage equivalent to it
        / Give me the source code of this window / Could you mark this up? / turn my mockup into html
        / How do I write this window with HTML tags? / Generate the markup / UI to HTML please
        / Draft the HTML that matches this / Export to HTML
        / I want to put this window on a website, what is the code? / Design in, HTML out
        / Reconstruct the page source / Can you build this in HTML for me? / Give me tags for all those controls
        / html version? / to html""",
    "color": """
        How is the {name} colored? / Give the {name} a color word / The {name}: red, blue, or what?
        / what hue is the {name} / Which paint was used for the {name}? / I'd like to know the {name}'s color
        / Is the {name} red or some other color? / What would you call the paint on the {name}? / {name} color?
        / Look at the {name}. Its colour? / which shade does the {name} have
        / Find the {name} and tell me its color / What tint is the {name}? / Identify the color of the {name}
        / Say the {name}'s colour / the {name} comes in what color / With which color is the {name} filled?
        / Could you name the hue of the {name}? / How would you call the color of the {name}?
        / Describe the color of the {name} / The color of the {name} is? / What's the {name}'s color?
        / fill color of the {name} / check the {name}'s colour for me / Determine the color of the {name}
        / Do you know the color of the {name}? / Whats the colour of that {name} / what colored {name} is this
        / I see a {name}. Which color? / the {name}, its color please""",
    "kind": """
        Something is {color}. What is it? / The {color} one is what?
        / Is the {color} one a circle or something else? / Which geometric form is painted {color}?
        / Tell me the shape that is {color} / How is the {color} object shaped? / Identify the {color} figure.
        / what do you call the {color} form / Look for {color}: what shape do you find?
        / I see something {color}, which shape? / What was drawn in {color}? / What's {color} here?
        / Find the {color} object and name its shape / {color} is which shape
        / What geometry does the {color} item have? / The form of the {color} item, please
        / Say what the {color} item is / what is colored {color} / Which of the shapes is {color}?
        / can you tell what the {color} thing is / What object is {color}? / Give the shape coloured {color}
        / shape in {color}? / the {color} item is a ... / What form do you see in {color}?
        / What sort of figure is {color}? / Determine the {color} shape / describe the {color} one's shape
        / Is it a square, a circle, what is the {color} one? / which figure has been drawn in {color}""",
    "count": """
        Could you tell me how many {what} exist? / I count the {what}; what should I get?
        / What is the quantity of {what}? / Total number of {what}, please / How many {what} did you find?
        / how many {what} does the picture have / Tell me the amount of {what} / Find all {what} and say how many
        / The {what}, what is their number? / {what} count? / In total, how many {what}?
        / Altogether there are how many {what}? / How many {what} would you say?
        / how many of the {what} can be found / Say how many {what} you see / Do the counting: {what}
        / I need a count of {what} / Please determine the number of {what} / check how many {what} there are
        / What number of {what} is visible? / How many {what} were drawn?
        / Enumerate {what} and give only the number / Number of {what} here, if you please
        / could you count up the {what} / How often do you see {what}? / Tally the {what}.
        / how many {what} in here / One, two, three... how many {what}? / How large is the number of {what}?
        / sum up the {what}""",
    "position": """
        Whereabouts is the {name}? / Which way should I look to see the {name}?
        / The {name}, is it left, right, up or down? / Tell me where the {name} is
        / Could you say in which place the {name} is? / where's the {name} / Roughly where do you find the {name}?
        / Do you know where the {name} was drawn? / {name}, where?
        / I'm looking for the {name}: left or right, top or bottom? / Whats the place of the {name}
        / On the canvas, where is the {name} located? / say where the {name} sits
        / What is the location of the {name} in words? / Describe where the {name} is
        / How is the {name} positioned? / Is the {name} in the middle or at a side?
        / Near which edge is the {name}? / Which part holds the {name}? / find the {name}; which side?
        / Where would you say the {name} is? / which zone is the {name} in / Where was the {name} put?
        / I can't see the {name}, where is it? / To which side is the {name}?
        / In words, the position of the {name}? / What area has the {name}?
        / At which side of the image is the {name}? / where did they draw the {name} / the {name} is in what part""",
    "position_side": """
        Look {side} the {name}: what is it? / Which one do you find {side} the {name}?
        / {side} the {name}, what is there? / Tell me which shape stands {side} the {name}
        / Is there something {side} the {name}? What? / what can be seen {side} the {name}
        / What lies {side} the {name}? / who is {side} the {name} / The thing {side} the {name} is what?
        / Identify what is {side} the {name}. / the neighbour {side} the {name}?
        / Say which figure is {side} the {name} / What has been drawn {side} the {name}?
        / I look {side} the {name}, what do I see? / Find the shape {side} the {name}
        / Which item appears {side} the {name}? / What stands {side} the {name}? / anything {side} the {name}?
        / Describe the shape {side} the {name} / which is {side} the {name}
        / Can you tell what is {side} the {name}? / What object do you notice {side} the {name}?
        / What is there {side} the {name}? / which form is found {side} the {name}? / what sits {side} the {name}
        / Determine the object {side} the {name} / Give me whatever is {side} the {name}
        / something is {side} the {name}, what / What comes {side} the {name}?
        / look up which one is {side} the {name}""",
    "chart_value": """
        How far does the {q} bar go? / What number belongs to {q}? / Read off {q}
        / In the chart, {q} stands at what? / Look at {q}: how much? / Which figure is shown for {q}? / {q}?
        / Tell me what {q} amounts to / Could you look up {q} in the diagram? / what did {q} score
        / {q} has what number / Which amount does {q} stand for? / I need the figure of {q} / What is {q} at?
        / What's the height of the bar {q}? / Find {q} and report its number / how much does {q} come to
        / To what value does {q} rise? / Say the number for {q} / Number at {q}? / In this diagram, what is {q}?
        / The bar called {q}, how big? / Where does the bar {q} end? / For {q}, which number?
        / the quantity of {q} / check the bar {q} and give its height / What can you read for {q}?
        / Extract the number for {q} / {q} equals? / what level is {q} at""",
    "chart_highest": """
        Who wins? / Which one comes out on top? / What bar beats all the others? / the maximum is where
        / Top category? / Which entry is number one? / Find the maximum / Which one leads?
        / What is the peak of the chart? / Who has the maximum? / Which bar stands out as the tallest of all?
        / Say which one is the greatest / Which label goes with the longest bar? / the biggest of them?
        / Name the winner / What is in first place? / Look for the bar that is higher than the rest
        / Which category is ahead of the others? / Which one got the best result? / I want to know the leader
        / Which value is the maximum and what is it called? / Of all bars, which is tallest? / max?
        / Could you tell me who scored best? / Which of these is largest? / What sold best?
        / Report the largest one / Rank them, which comes first? / Which column rises above all others?
        / the top bar is""",
    "chart_lowest": """
        Who comes last? / Which one is at the bottom of the ranking? / What bar is smaller than all the others?
        / the minimum is where / Find the minimum / Who has the minimum? / Which entry is last?
        / Which one lags behind? / What is the low point of the chart? / Which bar is the tiniest of all?
        / Say which one is the smallest of them / Which label goes with the shortest bar? / the littlest of them?
        / Name the loser / What is in last place? / Look for the bar that is lower than the rest
        / Which category is behind the others? / Which one got the worst result? / I want to know the weakest one
        / Which value is the minimum and what is it called? / Of all bars, which is shortest? / min?
        / Could you tell me who scored worst? / Which of these is smallest? / What sold worst?
        / Report the smallest one / Rank them, which comes last? / Which column stays below all others?
        / the weakest bar is / Least of all?""",
    "when": """
        At which time can I see the {name} {base}? / I want to know when the {name} {does}
        / Could you note the time the {name} {does}? / The {name} {does} at what time?
        / How many seconds pass before the {name} {does}? / the {name} {does}, but when
        / Give the timestamp at which the {name} {does} / What timestamp: the {name} {does}?
        / timestamp where the {name} {does} / On which second does the {name} {base}?
        / Find the instant the {name} {does}. / Watch the {name}. When does it {base}?
        / When can one see the {name} {base}? / Around what time does the {name} {base}?
        / seconds until the {name} {does}? / Locate in time: the {name} {does} / How late does the {name} {base}?
        / Exactly when does the {name} {base}? / when will the {name} {base}
        / How far into the clip does the {name} {base}? / Does the {name} {base}? When?
        / Please report when the {name} {does} / The moment the {name} {does}, what does the clock say?
        / In the video, when does the {name} {base}? / the {name} is going to {base}, at what second
        / How much time goes by until the {name} {does}? / By when does the {name} {base}?
        / Note the second at which the {name} {does} / What is the time code when the {name} {does}?
        / do you notice when the {name} {does}?""",
    "video_appears": """
        Which one was not there at the start? / Something new turns up, what is it? / What joins the others?
        / What enters the scene? / Which shape is the newcomer? / who enters / Tell me which shape arrives later
        / What gets added during the clip? / Is there a new shape? Which? / What turns up after a while?
        / Identify the shape that enters / Which object was added? / One shape is missing at first, which?
        / what suddenly becomes visible / Spot the newcomer.""",
    "video_leaves": """
        Which one is gone at the end? / Something is lost, what is it? / What departs? / What exits the scene?
        / Which shape does not stay? / who exits / Tell me which shape is gone later
        / What gets taken away during the clip? / Is a shape missing later? Which?
        / What is no longer there after a while? / Identify the shape that exits / Which object was taken away?
        / One shape is missing at the end, which? / what suddenly becomes invisible / Spot what got lost.""",
    "video_moves": """
        Where is the {name} heading? / Track the {name}: which direction? / To which side does the {name} drift?
        / The {name} travels where? / Tell me about the motion of the {name} / Which path does the {name} take?
        / {name} goes where / Up, down, left or right: how does the {name} move?
        / Follow the {name}. Where does it go? / the {name} moves towards what side
        / Could you say where the {name} is moving? / Towards which edge does the {name} go?
        / heading of the {name}? / In what way is the {name} displaced?
        / Does the {name} drift to the left or to the right, up or down?""",
    "video_color": """
        Stop at {seconds} seconds: how is the {name} colored?
        / When {seconds} seconds have passed, what color does the {name} have?
        / The {name} at {seconds} s, its color? / At time {seconds}, the {name} is what color?
        / t = {seconds}: color of the {name}? / Tell me how the {name} is painted at {seconds} seconds
        / Which hue does the {name} show at {seconds} seconds? / Look at the {name} at second {seconds}. Color?
        / at the {seconds} second mark the {name} is which colour / Say the {name}'s color at {seconds} seconds
        / How does the {name} look at {seconds} seconds, which color?
        / Pause at {seconds} s and name the {name}'s colour / {seconds} seconds in, what is the {name}'s color?
        / color at {seconds} seconds for the {name}? / Which shade is the {name} at {seconds} seconds?""",
    "describe": """
        Can you walk me through this picture? / What am I seeing here? / I'm blind, what is in front of me?
        / Talk about the image / Put the picture into words / Paint it in words for me / Summarize the picture.
        / Which things are here? / What objects are present? / Say something about this picture
        / Explain the image to me / list what is to be seen / What's this? / what have we got here
        / Alt text for this image? / Write an alt text / What can be seen? / Please provide a brief description.
        / Go ahead and describe / Tell me about this / what's in here / What is this a picture of?
        / Give an account of the scene / Inform me about the contents / How would you describe it?
        / In one or two sentences, what is here? / whats going on in this pic / Look at it and tell me about it
        / What is depicted? / Which objects do you recognize?""",
    "describe_video": """
        Can you walk me through this video? / What did I just watch? / Talk about the clip
        / Put the video into words / Narrate it. / Tell the story of these frames / What takes place?
        / Say something about this video / Explain the video to me / What changes over time?
        / Please provide a brief description of the video. / Tell me about this clip
        / Give an account of the events / How would you describe this video? / whats happening in this vid
        / What occurs here? / Recap the clip / Which events can be seen? / Watch it and tell me about it
        / What can be observed? / Report what happens / In one or two sentences, what takes place?
        / what did you see happen / What was recorded? / Describe the course of events / Comment on the video
        / Anything happening? / Give me the gist of the video / sum up what goes on / What did the shapes do?""",
}
UNSEEN: dict[str, tuple[str, ...]] = {
    form: tuple(" ".join(question.split()) for question in _SEPARATOR.split(text.strip()))
    for form, text in _WRITTEN.items()
}
