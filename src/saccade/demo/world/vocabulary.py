"""What may be written on a page: words, names, prices, codes, sentences, drawn for one split; it knows no layout.

Every tenth word of demo/words.txt, and every sixth entry of each list below, belongs to the test split alone. The
function words inside sentences are common to both.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from saccade.demo.world.blocklist import UNFORTUNATE
from saccade.demo.world.sample import Split

_FILE = Path(__file__).resolve().parent.parent / "words.txt"
_LETTERS, _DIGITS = "abcdefghijklmnopqrstuvwxyz", "0123456789"
_TWINS, _FORMED = "cilosuvwxz", "abdefghjkmnpqrty"
"""Letters whose capital differs by size alone, or that look like another letter; and the others."""


def _list(text: str) -> tuple[str, ...]:
    """The entries of a list written with commas, or with blanks when it has none."""
    return tuple(text.split("," if "," in text else None))


FIRST = _list(
    "Anna Ben Clara David Emma Frank Grace Henry Iris Jack Kate Leo Maria Noah Olga Paul Quinn Rosa Sam Tina Ursula "
    "Victor Wendy Xaver Yara Zoe Adam Bella Carl Dora Eric Fiona George Hanna Ivan Julia Kevin Linda Marc Nina Oscar "
    "Petra Ralph Susan Tom Uma Vera Walter Yusuf Alice Bruno Celia Dennis Elena Felix Greta Hugo Ingrid Jonas Karen "
    "Lukas Mona Niels Olivia Peter Rita Simon Thea Viktor Amir Chen Diego Farah Hiro Jamal Kofi Leila Mei Omar Priya "
    "Ravi Sofia Tariq Yuki"
)
LAST = _list(
    "Abbott Baker Carter Dixon Evans Fischer Garcia Hughes Irwin Jensen Keller Lopez Miller Novak Olsen Parker Quist "
    "Reed Smith Turner Unger Vogel Walker Young Zimmer Adams Berger Clark Duncan Ellis Foster Gray Hansen Ibrahim "
    "Jones Kim Lang Moore Nguyen Owens Patel Rossi Silva Tanaka Usman Varga Weber Yilmaz Zhang Allen Brown Cooper "
    "Diaz Egan Flynn Gomez Huber Ito Jacobs King Lee Meyer Nash Ortiz Price Ryan Sato Thomas Vance Wood"
)
CITIES = _list(
    "Berlin London Paris Madrid Oslo Vienna Rome Dublin Boston Denver Austin Dallas Miami Seattle Chicago Toronto "
    "Ottawa Lisbon Porto Prague Warsaw Krakow Zurich Geneva Bern Basel Munich Hamburg Cologne Leipzig Dresden Lyon "
    "Nice Turin Milan Naples Athens Cairo Tokyo Osaka Kyoto Delhi Mumbai Lagos Nairobi Lima Bogota Quito Helsinki "
    "Malmo Aarhus Bergen York Leeds Bristol Cardiff Glasgow Belfast Utrecht Ghent"
)
GOODS = _list(
    "milk,bread,butter,eggs,cheese,coffee,tea,sugar,flour,rice,pasta,apples,bananas,oranges,lemons,tomatoes,potatoes,"
    "onions,carrots,garlic,chicken,beef,salmon,tuna,ham,yogurt,cream,honey,jam,olive oil,vinegar,salt,pepper,cereal,"
    "oats,cookies,chocolate,candy,chips,nuts,water,juice,cola,beer,wine,soap,shampoo,toothpaste,tissues,paper towels,"
    "sponge,detergent,batteries,light bulb,pen,notebook,envelope,stapler,tape,scissors,socks,t-shirt,hat,scarf,"
    "gloves,jeans,shoes,belt,mug,plate,bowl,fork,spoon,knife,pan,kettle,lamp,chair,pillow,blanket,towel,candle,vase,"
    "clock,cable,charger,mouse,keyboard,headset,usb stick,phone case,cappuccino,espresso,latte,bagel,muffin,"
    "croissant,sandwich,salad,soup,pizza,burger,fries,pancakes,omelette,steak,noodles,sushi,taco,burrito,curry,"
    "ice cream,cake,pie,donut,lemonade,iced tea,milkshake"
)
SHOPS = _list(
    "Market,Store,Shop,Bakery,Cafe,Grill,Deli,Foods,Supply,Books,Garden,Kitchen,Pharmacy,Hardware,Diner,Mart,Bar,"
    "Bistro,Outlet,Corner,House,Place,Trading,Goods"
)
LABELS = _list(
    "Name,First name,Last name,Email,Phone,Address,City,Country,Street,Zip code,Date,Birthday,Age,Company,Department,"
    "Title,Subject,Comment,Order no.,Invoice no.,Customer,Account,Username,Password hint,Website,Price,Amount,"
    "Quantity,Color,Size,Weight,Height,Room,Floor,Gate,Seat,Flight,Train,Platform,Departure,Arrival,Status,Priority,"
    "Owner,Project,Version,Language,Currency,Region,Code,Reference,Serial no.,Model,Brand,Category,Doctor,Patient,"
    "Course,Teacher,Grade,Score,Team,Host,Port,Path,File name,Folder,Start,End,Duration,Deadline,Budget,Manager,"
    "Contact,Nickname,Notes"
)
ACTIONS = _list(
    "OK,Cancel,Save,Open,Close,Apply,Yes,No,Delete,Edit,Add,Remove,Next,Back,Finish,Help,Submit,Send,Search,Reset,"
    "Login,Sign in,Sign up,Log out,Continue,Retry,Ignore,Abort,Browse,Print,Export,Import,Copy,Paste,Undo,Redo,"
    "Refresh,Update,Install,Download,Upload,Share,Details,Options,Settings,Start,Stop,Pause,Play,Record,Connect,"
    "Save as,New,Create,Rename,Move,Clear,Select all,Accept,Decline,Confirm,Skip,Done,More,Buy now,Checkout,"
    "Subscribe,Preview,Restore,Discard"
)
SWITCHES = _list(
    "Remember me,Show hidden files,Enable sound,Dark mode,Auto save,Send reports,Use proxy,Full screen,Read only,"
    "Wrap lines,Keep logs,Accept terms,Subscribe,Gift wrap,Express delivery,Notify me,Show grid,Snap to grid,Loop,"
    "Mute,Airplane mode,Bluetooth,Wi-Fi,Location,Backup,Sync,Encrypt,Compress,Verbose,Debug,Updates,Newsletter,"
    "Vegetarian,Window seat,Smoking,Breakfast,Parking,Insurance,Return trip,Public,Private,Archive,Cookies,"
    "Always on top,Spell check"
)
MENUS = _list("File,Edit,View,Insert,Format,Tools,Window,Help,Go,Run,Layout,Data,Image,Select,Filter,Search,Table")
_GLUE = _list(
    "the a an of to in on at by for with from and or but is are was were has had will can may not no it he she we "
    "they you this that these those his her our their my your as if so than then when where who which what all any "
    "some each more most other into over after before under about up out down only very just also because there here"
)
_PEOPLE = (
    *("name", "first name", "last name", "username", "nickname", "customer"),
    *("owner", "manager", "doctor", "patient", "teacher", "contact"),
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ENDINGS = (".txt", ".pdf", ".png", ".py", ".csv", ".zip", ".doc", ".jpg", ".md", ".json", ".html", ".log")
_SENTENCES = (
    "the {w} of the {w} is {w}",
    "there is a {w} in the {w}",
    "we {w} the {w} and the {w}",
    "{f} has a {w} {w}",
    "it was a {w} {w} in {c}",
    "the {w} and the {w} are {w}",
    "please {w} the {w} before you {w} it",
    "{f} and {f} went to {c}",
    "do not {w} the {w}",
    "I would like to {w} a {w}",
    "she said that the {w} was {w}",
    "he will {w} to the {w} at {n}",
    "all of the {w} can be {w} or {w}",
    "in the {w} there are {n} {w} and {n} {w}",
    "if the {w} is {w}, the {w} is {w}",
    "you can {w} it to the {w} or to the {w}",
    "this is the {w} that we {w} in the {w}",
    "{f} {l} is the {w} of the {w}",
    "the {w} costs {p} and the {w} costs {p}",
    "from {c} to {c} it is {n} miles",
    "to {w} or not to {w}",
    "the more {w}, the more {w}",
    "what is the {w} of a {w}?",
    "who is in the {w}?",
    "on the {w}, at the {w} and in the {w}",
    "they are as {w} as the {w}",
    "a {w} is not a {w}",
    "the {w} is to the {w} as the {w} is to the {w}",
    "open on {d} from {n} to {n}",
    "it is {w}, isn't it?",
    "my {w} is in your {w}",
    "{f}'s {w} is in {f}'s {w}",
    "{f} {l}'s {w} was the {w}'s {w}",
    "the {w}'s {w} and the {w}s' {w}",
    "{c}'s {w} isn't {w}, it's {w}",
    "we have to {w} it, and we have to {w} it now!",
    '"{w}," said {f}, "is a {w}."',
    "no {w} - no {w}",
    "{w}, {w}, {w} and {w}",
    "the {w}; the {w}; and then the {w}",
    "note: the {w} (see {w}) was {w}",
)


@lru_cache(maxsize=2)
def words(split: Split) -> tuple[str, ...]:
    """The lower-case dictionary words of a split."""
    everything = _FILE.read_text().split()
    # Filtered after the split, so that no word changes sides when the list of unfortunate ones grows.
    if split == "train":
        return tuple(word for i, word in enumerate(everything) if i % 10 != 5 and word not in UNFORTUNATE)
    lists = (FIRST, LAST, CITIES, GOODS, SHOPS, LABELS, ACTIONS, SWITCHES, MENUS, _GLUE, _SENTENCES)
    printed = {part for items in lists for item in items for part in re.findall("[a-z]+", item.lower())}
    return tuple(word for word in everything[5::10] if word not in printed | UNFORTUNATE)


@lru_cache(maxsize=64)
def share(items: tuple[str, ...], split: Split) -> tuple[str, ...]:
    """The part of a list above that belongs to a split."""
    return tuple(item for i, item in enumerate(items) if (i % 6 == 4) == (split == "test"))


class Vocabulary:
    """A writer for one sample: each call gives one new text. Only ASCII, the pound and the euro sign occur."""

    def __init__(self, rng: np.random.Generator, split: Split) -> None:
        self.rng, self.split = rng, split
        self._words = words(split)

    def below(self, n: int) -> int:
        return int(self.rng.integers(n))

    def among(self, items: tuple[str, ...]) -> str:
        """One entry of a list of this module, from the split's share of it."""
        part = share(items, self.split)
        return part[self.below(len(part))]

    def word(self) -> str:
        return self._words[self.below(len(self._words))]

    def cased(self, text: str) -> str:
        """As it is, capitalised, or in capitals."""
        dice = self.rng.random()
        return text if dice < 0.5 else text.capitalize() if dice < 0.8 else text.upper()

    def digits(self, n: int) -> str:
        return "".join(_DIGITS[d] for d in self.rng.integers(10, size=n))

    def letters(self, n: int) -> str:
        """Two or more random letters, so that reading is not guessing; none that only a neighbour could tell apart: no
        l and no I in mixed case, and at least one letter whose capital has another form."""
        text = "".join(_LETTERS[d] for d in self.rng.integers(26, size=max(n, 2)))
        if not set(text) - set(_TWINS):
            text = _FORMED[self.below(len(_FORMED))] + text[1:]
        dice = self.rng.random()
        if dice < 0.4:
            return text
        if dice < 0.8:
            return text.upper()
        text = text.replace("l", "L").replace("i", "j")
        return "".join(c.upper() if flip else c for c, flip in zip(text, self.rng.random(len(text)) < 0.5, strict=True))

    def code(self) -> str:
        """A serial number, plate or key: letters and digits mixed."""
        form = (
            "AA-dddd",
            "dddAA",
            "Addd-dd",
            "AAAddd",
            "#dddd",
            "dd-dd-dd",
            "AdAdAd",
            "aadddd",
            "ddd.ddd.d.dd",
            "A-ddd/d",
            "0xhhhh",
            "hhhhhh",
            "dd:dd",
            "+dd ddd dddd",
            "(ddd) ddd-dddd",
            "d,ddd",
            "dd%",
            "vd.d.d",
            "&dd",
            "a_a=d;",
            "[d]",
            "<aa>",
            "@aaaa",
            "$A{d}",
            "d+d=d",
            "a*d",
            "'aaa'",
            "aa\\aa",
            "d^d",
            "~d",
            "`a`",
            "A|A",
            "?!",
        )[self.below(33)]
        # Beside digits as on number plates: no I, O, l and o.
        pools = {
            "A": "ABCDEFGHJKLMNPQRSTUVWXYZ",
            "a": "abcdefghijkmnpqrstuvwxyz",
            "d": _DIGITS,
            "h": "0123456789abcdef",
        }
        return "".join(pools[c][self.below(len(pools[c]))] if c in pools else c for c in form)

    def amount(self, low: float = 0.1, high: float = 2000.0) -> int:
        """Cents, spread evenly over the magnitudes."""
        return int(np.exp(self.rng.uniform(np.log(low), np.log(high))) * 100)

    def price(self) -> str:
        cents = self.amount()
        text = f"{cents // 100}.{cents % 100:02d}"
        return ("${}", "{} EUR", "{}", "\u00a3{}", "\u20ac{}", "{} \u20ac", "{} USD")[self.below(7)].format(text)

    def number(self) -> str:
        return str(int(10 ** self.rng.uniform(0, 5.5)))

    def date(self) -> str:
        year, month, day = 1980 + self.below(60), 1 + self.below(12), 1 + self.below(28)
        return (
            f"{year}-{month:02d}-{day:02d}",
            f"{day:02d}.{month:02d}.{year}",
            f"{month:02d}/{day:02d}/{year}",
            f"{day} {_MONTHS[month - 1]} {year}",
            f"{_MONTHS[month - 1]} {day}, {year}",
        )[self.below(5)]

    def time(self) -> str:
        return f"{self.below(24):02d}:{self.below(60):02d}"

    def person(self) -> str:
        return f"{self.among(FIRST)} {self.among(LAST)}"

    def email(self) -> str:
        left = (self.word(), f"{self.among(FIRST)}.{self.among(LAST)}".lower(), self.word() + self.digits(2))[
            self.below(3)
        ]
        return f"{left}@{self.word()}.{('com', 'org', 'net', 'de', 'io', 'co.uk')[self.below(6)]}"

    def address(self) -> str:
        return f"{1 + self.below(300)} {self.word().capitalize()} {('Street', 'Road', 'Ave', 'Lane')[self.below(4)]}"

    def link(self) -> str:
        start = ("www.", "https://", "")[self.below(3)]
        return f"{start}{self.word()}.{('com', 'org', 'net')[self.below(3)]}{('', '/' + self.word())[self.below(2)]}"

    def filename(self) -> str:
        tail = ("", "_" + self.word(), "-" + self.digits(2), self.digits(1))[self.below(4)]
        return self.word() + tail + _ENDINGS[self.below(len(_ENDINGS))]

    def oddity(self) -> str:
        """Something that no dictionary holds, one word without blanks in most cases."""
        dice = self.below(10)
        if dice < 3:
            return self.letters(1 + self.below(8))
        if dice < 5:
            return self.digits(1 + self.below(8))
        if dice < 7:
            return self.code()
        return (self.price, self.number, self.date, self.time, self.email, self.filename, self.link)[self.below(7)]()

    def token(self) -> str:
        """A dictionary word seven times out of ten, now and then two with a hyphen or one's own, else an
        oddity."""
        dice = self.rng.random()
        if dice < 0.7:
            return self.cased(self.word() if dice < 0.64 else self.compound() if dice < 0.68 else f"{self.word()}'s")
        return self.oddity()

    def compound(self) -> str:
        """Two words or pieces with a hyphen: mid-air, X-ray, Hi-Lo."""
        dice = self.below(3)
        if dice == 0:
            return f"{self.word()}-{self.word()}"
        first = _FORMED[self.below(len(_FORMED))].upper() if dice == 1 else self.word()[:2].capitalize()
        second = self.word()
        return f"{first}-{second}" if dice == 1 else f"{first}-{second[: 2 + self.below(2)].capitalize()}"

    def sentence(self) -> str:
        """A natural sentence with function words, some of them repeated, and its punctuation."""
        if self.rng.random() < 0.25:
            n = 4 + self.below(6)
            parts = [_GLUE[self.below(len(_GLUE))] if self.rng.random() < 0.55 else self.word() for _ in range(n)]
            text = " ".join(parts)
        else:
            text = _SENTENCES[self.below(len(_SENTENCES))]
            for slot, make in (
                ("{w}", self.word),
                ("{n}", lambda: str(self.below(100))),
                ("{c}", lambda: self.among(CITIES)),
                ("{f}", lambda: self.among(FIRST)),
                ("{l}", lambda: self.among(LAST)),
                ("{p}", self.price),
                ("{d}", self.date),
            ):
                while slot in text:
                    text = text.replace(slot, make(), 1)
        if self.rng.random() < 0.85:
            text = text[0].upper() + text[1:]
        if text[-1] not in '?!."' and self.rng.random() < 0.8:
            text += (*".....!?,:", "...")[self.below(10)]
        return text

    def title(self) -> str:
        """One to three capitalised words."""
        return " ".join(self.word().capitalize() for _ in range(1 + self.below(3)))

    def label(self) -> str:
        """The name of a form field."""
        return self.among(LABELS) if self.rng.random() < 0.65 else self.word().capitalize()

    def switch(self) -> str:
        """The name of a check box."""
        dice = self.rng.random()
        if dice < 0.55:
            return self.among(SWITCHES)
        if dice < 0.67:
            return self.compound()
        return self.word().capitalize() + (f" {self.word()}" if self.rng.random() < 0.6 else "")

    def action(self) -> str:
        """The text on a button."""
        return self.among(ACTIONS) if self.rng.random() < 0.7 else self.word().capitalize()

    def value(self, label: str = "") -> str:
        """What somebody filled in; fits the label when it is a usual one."""
        low = label.lower()
        if low in _PEOPLE:
            return self.person() if low not in ("first name", "username", "nickname") else self.among(FIRST)
        if low in ("date", "birthday", "deadline", "start", "end", "departure", "arrival"):
            return self.date()
        if low in ("city", "region", "country"):
            return self.among(CITIES)
        if low in ("address", "street"):
            return self.address()
        if low == "email":
            return self.email()
        if low in ("price", "amount", "budget"):
            return self.price()
        if low == "phone":
            return f"+{1 + self.below(98)} {self.digits(3)} {self.digits(4 + self.below(4))}"
        if low in ("age", "quantity", "room", "floor", "gate", "score", "port", "weight", "height"):
            return str(self.below(200))
        makers = (
            self.person,
            self.code,
            self.number,
            self.date,
            self.email,
            self.title,
            self.oddity,
            self.filename,
            self.address,
        )
        return makers[self.below(9)]() if self.rng.random() < 0.7 else f"{self.word()} {self.word()}"


def money(cents: int) -> str:
    """12345 -> "123.45"."""
    return f"{cents // 100}.{cents % 100:02d}"
