"""Trains the simulated worker's tokenizer: `python -m miles_router.sim.train_tokenizer`.

The corpus is made here, from the word list below: sentences drawn with a fixed seed, some code,
some numbers and a few lines beyond ASCII. So it is the same on every machine and belongs to this
project. The result is a real byte-level BPE with ChatML special tokens; the same corpus gives the
same file.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VOCABULARY_SIZE = 4000
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
DATA_PATH = Path(__file__).parent / "data" / "tokenizer.json"

_SENTENCES = 24_000
_VERBS = """
accept add advance align allow answer appear apply argue arrange ask assign attend balance batch
begin belong bend borrow branch break bring build call carry change check choose claim clean clear
climb close collect combine compare compute connect consider contain continue control convert copy
correct count cover create cross cut decide deliver depend describe design detect develop discover
divide doubt draw drift drop end enter estimate evaluate examine expect explain explore extend
fail fall feed feel fill find finish fit fix flow fold follow form gain gather generate give grow
guess handle happen hear help hold improve include increase inform insert join jump keep know
label land launch lead learn leave lift limit listen load look lose make map mark match mean
measure meet merge miss model move name need note notice obtain offer open order pass pay perform
pick place plan play point prefer prepare present predict press prevent print produce prove
provide publish pull push raise reach read reason receive record reduce refer refuse release
remain remember remove repair repeat replace report request require return reward roll route run
sample save say search see seem select send separate serve share shift show sleep solve sort sound
speak spend split stand start state stay step store study suggest supply support surprise take
talk tell test think throw touch trace track train travel treat trust try turn understand update
use visit wait walk want warn watch weigh win wonder work worry write
"""
_NOUNS = """
account action advantage age agent air amount angle animal answer apple area army art aspect
attention author baby bank basis beach bell bird blood board boat body book bottle box bread
bridge brother buffer building bus cache camp captain card care case cat cause center century
chain chance chapter child choice circle city class client clock cloud coast coffee color company
computer concept condition country couple course cup data date daughter day dealer death decision
degree desert detail device difference dinner direction distance doctor dog door dream driver duty
ear earth edge effect effort egg element energy engine episode error event example exchange expert
eye face fact factor family farm father field figure film finger fire fish floor flower food foot
force forest fork frame friend front future game garden gate girl glass goal gold gradient grain
grass ground group guest hair hand harbor head heart heat hill history home hope horse hospital
hour house human ice idea image index industry iron island job journey judge key kind king kitchen
knife lake language law layer leaf leg length letter level library life light line list loss
machine man margin market mask master material matter meal meaning member memory metal method
middle mile milk mind minute mirror mistake moment money month moon morning mother mountain mouth
music nation nature network night noise north number object ocean office oil orbit origin page
paper parent part party path pattern peace people person phrase picture piece planet plant plate
policy pool position power price problem process program prompt public quality quarter queen
question race rain range rate ratio reader region relation result rice ring river road rock role
room root rule salt sand scale scene school science sea season second seed sense sentence series
shape ship shoe shop side sign signal silver sister size skill skin sky snow society soil soldier
song source south space speech speed spring square stage star station stone storm story stranger
street string student style subject sugar summer sun surface system table task teacher team
temperature text theory thing thought thousand time token tool top tower town trade tree trial
trip truth value valley version village voice wall war water wave way weather week weight west
wheel wind window winter woman wood word worker world year zone
"""
_QUALITIES = """
able active bad basic big blue brave brief bright broad calm careful certain cheap clear clever
cold common complete complex cool correct current dark deep different direct dry early easy empty
equal exact fair false familiar famous fast final fine firm flat free fresh full general gentle
good great green happy hard heavy high honest hot huge important kind large late lazy light likely
local long loose loud low main modern narrow near new nice normal odd old open perfect plain
pleasant possible pretty private proper proud pure quick quiet random rare raw ready real recent
red regular rich right rough round safe sharp short silent similar simple single slow small smart
smooth soft solid special square stable steady strange strict strong sudden sure sweet tall thick
thin tight tiny tired total true typical usual vague warm weak wet white whole wide wild wise
wrong yellow young
"""
_SMALL = """
the a an of to in on at by for from with without about into over under after before between
through and or but if then because while when where how why what who which that this these those
it he she they we you i is are was were be been has have had do does did can could will would
should may might must not no yes so as than too very more most some any each every few many much
all both such only also just still again there here
"""
_CODE = (
    "def {a}_{b}({c}, {d}=None):\n    return {c}.{a}({d})\n",
    "for {a} in range({n}):\n    {b}[{a}] = {c}({a} + 1)\n",
    'if {a} == "{b}":\n    raise ValueError("{c} {d}")\n',
    "import {a}.{b} as {c}\n",
    "self.{a} = {b}.get({c!r}, {n})\n",
    '{{"{a}": {n}, "{b}": [{n}, {n}], "{c}": "{d}"}}\n',
    "x = {n} + {n} * ({n} - y) / {n}.{n}\n",
    "class {a}{b}:\n    pass\n",
)
_BEYOND_ASCII = (
    "El niño comió una manzana y después salió a jugar. ",
    "Où est la forêt, près du château? Voilà, là-bas! ",
    "Die Straße führt über die Brücke zum schönen Gebäude. ",
    "今天天气很好，我们一起去看书吧。",  # noqa: RUF001 - its own punctuation
    "これは小さな例です。 ありがとう。",
    "Привет, мир! Это простой пример. ",
    "π ≈ 3.14159, √2 ≈ 1.41421, α ≤ β → γ. ",  # noqa: RUF001 - Greek on purpose
    "Great work! 🎉🚀 Thanks 🙂 → done ✅\n",
)
_ENDINGS = ("", "", "", "s", "ed", "ing", "er", "ers", "able", "ment", "ion")
_MANNERS = ("", "", "ly", "er", "est", "ness")
_FRONTS = ("", "", "", "", "", "re", "un", "pre", "over", "out")
_STOPS = (".", ".", ".", ".", "?", "!", ";", ":", " -", "...")


class _Draw:
    """Choices from `random.Random.random` alone, whose sequence Python guarantees for a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - a corpus, not a secret

    def below(self, limit: int) -> int:
        return int(self._rng.random() * limit)

    def one(self, options: Sequence[str]) -> str:
        return options[self.below(len(options))]


def _word(draw: _Draw, verbs: list[str], nouns: list[str], qualities: list[str]) -> str:
    kind = draw.below(10)
    if kind < 4:
        return draw.one(nouns) + draw.one(("", "", "s"))
    if kind < 8:
        stem = draw.one(verbs)
        ending = draw.one(_ENDINGS)
        if stem.endswith("e") and ending[:1] in {"e", "i", "a"}:
            stem = stem[:-1]
        return draw.one(_FRONTS) + stem + ending
    return draw.one(qualities) + draw.one(_MANNERS)


def corpus() -> Iterator[str]:
    """The training text, line by line; the same lines on every machine."""
    draw = _Draw(2026)
    verbs, nouns, qualities = _VERBS.split(), _NOUNS.split(), _QUALITIES.split()
    small = _SMALL.split()
    for number in range(_SENTENCES):
        words = []
        for _ in range(4 + draw.below(9)):
            words.append(draw.one(small))
            words.append(_word(draw, verbs, nouns, qualities))
        if number % 5 == 0:
            words.append(str(draw.below(10 ** (1 + draw.below(4)))))
        text = " ".join(words)
        if number % 7 == 0:
            text = text.replace(" and ", ", and ")
        yield text[0].upper() + text[1:] + draw.one(_STOPS) + draw.one((" ", " ", "\n", "\n\n"))
        if number % 6 == 0:
            a, b, c, d = (_word(draw, verbs, nouns, qualities) for _ in range(4))
            yield draw.one(_CODE).format(a=a, b=b, c=c, d=d, n=draw.below(100))
        if number % 40 == 0:
            yield draw.one(_BEYOND_ASCII)


def train() -> Tokenizer:
    """A byte-level BPE of `VOCABULARY_SIZE` tokens; the special tokens are ids 0, 1 and 2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer=trainer)
    return tokenizer


def main() -> int:
    """Train and write the file; prints where it is and how large."""
    text = train().to_str(pretty=False)
    DATA_PATH.parent.mkdir(exist_ok=True)
    DATA_PATH.write_text(text, encoding="utf-8")
    sys.stderr.write(f"{DATA_PATH}: {len(text.encode())} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
