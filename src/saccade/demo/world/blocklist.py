"""Words of demo/words.txt that stand on no page: beside a name they may read as a remark. No logic."""

from __future__ import annotations

_WORDS = """
abort abortion abortive adultery anal arouse assassin bedded behead bigamist bigot bigotry bisexual bloodied
bloodier bloodies booby bosom bra bugger bum bummed bummer bumming butchery castrate chink clitoris coon corpse
cretin crotch crucifix crucify cum cumming damndest deviant diarrhea dismembers dope drugging drunk drunkard
drunken drunker drunks dumb dumbest enema execution executions fart fatties fattiest fetish fetus flasher flog
flogged flogging foreskin foreskins gayest gunman hag hang heathen hellish heretic herpes holocausts horny
idiocies idiot impotent infidel insaner insanest junkie kidnap kidnaper kink kinkier kinky lesbians lewder
lewdest lunatic lust lustful lustier lustiest lusty maim menstruates midget mistress molest mongrel moronic
mutilate mutilates nudest obese obesity overdose overdosing poop queerest queering racism rapt rectums sadism
sadistic satanic savage savager savagery savagest scum scummed scumming seduce sexism sissy slain slaved slay
snigger snot sod sodden sodding sodomy spank sperm stab stabbed stabbing strangle strip stripper stupid stupider
suck sucked sucking suicide syphilis teat terror thigh titter torment tramps udder urinate urine uteri uterus
violate violating virgin virility vomit wanton
"""
UNFORTUNATE: frozenset[str] = frozenset(_WORDS.split())
