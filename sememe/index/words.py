"""From text to terms: words, stems, identifiers, bigrams; and from what a person typed to the parts of a query.

A text becomes terms with positions. Forms of one word share a position, so that a phrase matches any of them:
`getUserName` is `getusername`, `get` at one position, `user`, `name` at the next two; `résumé` is found with and
without its accents. Latin words are stemmed by the language of their text, words of other scripts by their script,
and scripts without white space are cut into overlapping bigrams. Documents and queries take the same way, which
makes them meet. This file knows no index and no file; of tantivy it uses the stemmers.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, chain, islice, pairwise
from typing import NamedTuple

TITLE_WEIGHT = 2
HEADING_WEIGHT = 2
"""How often the words of a title or heading count, where those of the body count once."""

STEMMERS = {
    "da": "danish", "de": "german", "en": "english", "es": "spanish", "fi": "finnish", "fr": "french",
    "hu": "hungarian", "it": "italian", "nl": "dutch", "no": "norwegian", "pt": "portuguese", "ro": "romanian",
    "sv": "swedish", "tr": "turkish",
}  # fmt: skip
"""Languages of Latin script that tantivy has Snowball stemmers for."""

UNSTEMMED = "xx"
"""The language of Latin words that have no stemmer."""

NEAR = {"nb": "no", "nn": "no", **dict.fromkeys(("ar", "el", "ja", "ko", "ru", "ta", "th", "zh"), "en")}
"""Codes under another's stemmer. Latin words in a text of another script are most often English."""

SCRIPTS = (
    (re.compile("[\u0400-\u04ff]"), "russian"),
    (re.compile("[\u0370-\u03ff\u1f00-\u1fff]"), "greek"),
    (re.compile("[\u0600-\u06ff]"), "arabic"),
    (re.compile("[\u0b80-\u0bff]"), "tamil"),
)
"""Words of these scripts have one stemmer each, whatever language surrounds them."""

TERM_CHARACTERS = 100
"""Longer words are cut, in documents and queries alike: a pasted digest is still found."""

CACHED_WORDS = 8_192
"""Words of a language after which those are forgotten that were not met again since as many were before: 10 MB at most.
Words of ordinary texts are found among so few nearly as often as among all."""

CACHED_CHARACTERS = 40
LANGUAGE_WORDS = 200
QUERY_CHARACTERS = 10_000
"""What is read of a query."""
MOST_PLACES = 32
"""Terms of a phrase that are required, and phrases of a query."""
MOST_PREFIXES = 4
"""Prefixes of a query that are heeded: a short one reads the lists of many terms."""

# Han, Kana, Bopomofo, Hangul; Thai, Lao, Burmese, Khmer: no white space between words, or not between all.
_DENSE = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u312f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
# Marks that belong to a word though they are not letters: accents, points and vowel signs.
_MARKS = "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u0711"
_MARKS += "\u0900-\u0963\u0971-\u0d63\u0d70-\u0dff\u0f71-\u0f87\u1ab0-\u1aff\u200c\u200d\u20d0-\u20f0\ufe20-\ufe2f"
_WORD = rf"(?:[^\W{_DENSE}]|[{_MARKS}])+"
_JOINED = r"(?:[.'’\-]{word})*(?:\+\+|#(?!\w))?"
_ASCII_WORDS = re.compile(r"\w+" + _JOINED.format(word=r"\w+"), re.ASCII)
_WORDS = re.compile(rf"[{_DENSE}{_MARKS}]*[{_DENSE}][{_DENSE}{_MARKS}]*|" + _WORD + _JOINED.format(word=_WORD))
_IS_DENSE = re.compile(f"[{_DENSE}]")

_JOINTS = re.compile(r"[._'’\-]+")
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
_OUTER = re.compile(r"(?<!\d)[._'’\-]+|[._'’\-]+(?!\d)")
_ACCENTS = re.compile("([A-Za-z\u00c0-\u03ff])[\u0300-\u036f]+")
_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i"})

# Frequent function words of each language; the same one may serve several.
_FUNCTION_WORDS = {
    "da": (
        "af alle at blev brug da de dem den denne der det disse du efter ej eller en er et flere for fra før "
        "først han har hun hvad hvis hvor ikke jeg kan kun man mange med mellem men mere mod må nogle når og også "
        "om over på sig sin skal som så til ud uden under var ved vi vil være"
    ),
    "de": (
        "aber alle als am an auch auf aus bei bis da damit das dass dem den der des die diese dieser durch ein "
        "eine einem einen einer eines er es für hat ich ihr im in ist kann keine mehr mit nach nicht noch nur ob "
        "oder ohne sehr sich sie sind so um und unter vom von vor war was wenn werden wie wird zu zum zur "
        "zwischen über"
    ),
    "en": (
        "a about after all also an and any are as at be been but by can do for from had has have he her his if in "
        "into is it its more no not of on one or other out over she so some such than that the their them there "
        "these they this to up use used was we were what when which who will with would you your"
    ),
    "es": (
        "al algunos como con cual cualquier cuando de del desde donde el ella en entre era es esta este esto está "
        "están fue ha hasta la las le lo los me mi muy más ni no otros para pero por puede que se según ser si "
        "sin sobre son su sus también tiene todo todos un una uno usar ya"
    ),
    "fi": (
        "ei eivät eri esimerkiksi että he hyvin hän ja joita joka jolla jonka jos jossa jota jotka kaikki kanssa "
        "kuin kun kuten mikä minä muita mukaan mutta myös ne niiden niin niitä nyt ole oli olivat on ovat se sekä "
        "sen siitä sillä sitä tai tämä tämän vaan vain varten voi voidaan voit"
    ),
    "fr": (
        "au aussi aux avec avoir ce ces cette comme dans de des donc du elle elles en est et fait il ils je la le "
        "les leur lors lui mais même ne nous on ont ou où par pas peut plus pour qu que qui sa sans se ses son "
        "sont sous sur tous tout très un une vers vous à été être"
    ),
    "hu": (
        "amely amelyek ami az azok azt csak de egy egyes ennek ez ezek ezt ha hanem hogy igen is kell között le "
        "lehet meg mely melyek mert mi mind minden mint már más nagyon ne nem nincs olyan sem szerint számára "
        "több vagy van vannak volt és így úgy"
    ),
    "it": (
        "ad agli ai al alcuni alla alle anche che chi ci come con cui da dal dalla degli dei del della delle "
        "dello di dove ed era essere fra gli ha ho il in la le lo loro ma modo nei nel nella non ogni per però "
        "più può quando quello questa questo se senza si sia sono stato su sua sul sulla tra tutti un una uno è"
    ),
    "nl": (
        "aan al alle als andere bij dan dat de deze die dit door een eerste en er geen had heeft het hij hun ik "
        "in is je kan kunnen maar meer met naar niet nog nu of om onder ook op over te tot uit uw van veel via "
        "voor waar was wat welke wij worden wordt ze zich zijn zo zoals zonder"
    ),
    "no": (
        "alle at av ble bli da de den denne der det disse du eller en enn er et etter for fra før ha han har hun "
        "hva hvis hvor ikke jeg kan kun man mange med mellom men mer mot må noen når og også om over på seg sin "
        "skal som så til under ut uten var ved vi vil være"
    ),
    "pt": (
        "ao aos as até com como da das de depois do dos ela ele em entre era essa este está eu foi foram há isso "
        "já lhe mais mas mesmo muito na nas no nos não os ou para pela pelo pode por qual quando que se sem ser "
        "seu sua são só também tem têm um uma você vários à é"
    ),
    "ro": (
        "această acest acesta al ale am ar are au ca care ce cea cele cu când dar de decât despre din după este "
        "eu fi fost la mai mult nu pe pentru poate prin sa sau se sunt să toate un unei unor unui în între ştia "
        "ţi și"
    ),
    "sv": (
        "alla andra att av bara blev de dem den denna det detta dig du där eller en enligt ett flera från för ha "
        "han har hon hur här inte jag kan kommer man med mellan men mer mot mycket många måste ni nu när och "
        "också om på sedan sig sin ska som så till under upp ut utan vad var vi vid vill än är över"
    ),
    "tr": (
        "ama ancak bir biri bu böyle da daha de değil diye diğer en gibi hem her ile ise içerir için kadar ki mi "
        "mu nasıl ne olan olarak oldu olduğu sonra tarafından tüm var ve veya ya yani yok çok üzere şey şu"
    ),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A chunk as the lexical index reads it. `language` is an ISO 639-1 code, or empty when it is not known."""

    chunk: int
    title: str
    headings: tuple[str, ...]
    body: str
    language: str = ""


class Forms(NamedTuple):
    """The terms of a word or a text. `steps`: how many positions each is further than the one before.

    `plain` are the words as typed, folded, that are no term themselves: prefixes are looked for there too.
    """

    terms: tuple[str, ...]
    steps: tuple[int, ...]
    plain: tuple[str, ...] = ()

    @property
    def sequential(self) -> bool:
        """Whether every term has a position of its own."""
        return 0 not in self.steps

    def positions(self) -> list[int]:
        """The position of every term, from 0."""
        return [place - 1 for place in accumulate(self.steps)]


Places = tuple[tuple[int, str], ...]
"""A phrase: terms and their positions, ascending, one term a position."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is looked up for a query.

    `weights` are the terms of its free words, and how often each was asked for: a row needs none of them, and one at
    least when nothing is `required`. Of every required phrase, and of every excluded one, any of the forms counts.
    """

    weights: dict[str, int]
    required: tuple[frozenset[Places], ...]
    excluded: frozenset[Places]
    prefixes: tuple[str, ...]

    def terms(self) -> list[str]:
        """All terms that make a row match, in the order of the query, required phrases after the free words."""
        phrases = (term for forms in self.required for places in sorted(forms) for _, term in places)
        return list(dict.fromkeys(chain(self.weights, phrases, (f"{prefix}*" for prefix in self.prefixes))))


# --- queries ----------------------------------------------------------------------------

_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"'})
_PARTS = re.compile(r'(?<!\w)(-?)"([^"]*)"|(?<!\S)-([^\W\d_]{3,})(?!\S)|(?<![\w.\'’\-])([\w.\'’\-]*\w)\*(?![\w*])')


def asked(query: str, languages: Collection[str]) -> Asked:
    """Read a query: `"a phrase"` is required, `-word` and `-"a phrase"` are excluded, `begin*` is a prefix.

    Everything else is words, whatever it means elsewhere; all are optional. A word is excluded when it has three
    letters or more and stands between white space: options such as -l and ranges such as 3-4 are words. A quote that
    does not close is none. Words are analysed for each of `languages`, those of the rows that are searched.
    """
    required, excluded, prefixes = list[frozenset[Places]](), set[Places](), list[str]()

    def take(match: re.Match[str]) -> str:
        minus, quoted, word, begins = match.groups()
        if begins:
            prefix = prefix_of(begins)
            # One letter begins too many words.
            if len(prefix) < 2 and prefix.isascii():
                return f" {begins} "
            prefixes.append(prefix)
        elif word or minus:
            excluded.update(_forms(word or quoted, languages))
        elif _is_character(quoted):
            return f" {quoted} "
        elif forms := _forms(quoted, languages):
            required.append(forms)
        return " "

    weights: Counter[str] = Counter()
    free = _PARTS.sub(take, query[:QUERY_CHARACTERS].translate(_QUOTES))
    for word, times in Counter(words(free)).items():
        if _is_character(word):
            prefixes.append(word)
            continue
        for term in dict.fromkeys(term for language in languages for term in analysed((word,), language).terms):
            weights[term] += times
    first = tuple(dict.fromkeys(filter(None, prefixes)))[:MOST_PREFIXES]
    return Asked(dict(weights), tuple(required[:MOST_PLACES]), frozenset(excluded), first)


def _forms(text: str, languages: Iterable[str]) -> frozenset[Places]:
    return frozenset(places for language in languages if (places := phrase(text, language)))


def _is_character(text: str) -> bool:
    """Whether a text is one character of a dense script: it begins a term wherever it stands."""
    return len(text) == 1 and _IS_DENSE.match(text) is not None


# --- texts ------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    """The words as they stand, compounds and identifiers whole, dense scripts by the run."""
    if text.isascii():
        return _ASCII_WORDS.findall(text)
    return _WORDS.findall(unicodedata.normalize("NFKC", text))


def located(text: str, language: str) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """The words of a text with where they stand: start and end in characters, and the terms that they are found by."""
    for match in _WORDS.finditer(text):
        yield match.start(), match.end(), analysed(words(match.group()), language).terms


def analysed(text_words: Iterable[str], language: str) -> Forms:
    """The terms of a text of these words that is written in `language`, one of STEMMERS or UNSTEMMED."""
    known = _terms(language)
    terms, steps, plain = list[str](), list[int](), list[str]()
    for word in text_words:
        forms = known[word]
        terms += forms[0]
        steps += forms[1]
        plain += forms[2]
    return Forms(tuple(terms), tuple(steps), tuple(plain))


def analysed_entry(entry: Entry) -> tuple[str, list[Forms]]:
    """The language that an entry is analysed under, and the terms of its parts, as often as they count."""
    above = [(words(part), times) for part, times in _above(entry) if part]
    body = words(entry.body)
    language = stemmer_language(entry.language, list(chain(body, *(found for found, _ in above))) if above else body)
    parts = [forms for found, times in above for forms in [analysed(found, language)] * times]
    parts.append(analysed(body, language))
    return language, [forms for forms in parts if forms.terms]


def _above(entry: Entry) -> list[tuple[str, int]]:
    return [(entry.title, TITLE_WEIGHT), *((heading, HEADING_WEIGHT) for heading in entry.headings)]


def phrase(text: str, language: str) -> Places:
    """Terms with positions that follow each other like this in any text that holds the phrase.

    Of the forms of a word the last is taken, which is the one without accents, or the part of a compound. The single
    character that ends a run of a dense script is left out at the end, where the document's run may go on. What comes
    after MOST_PLACES terms is not required.
    """
    found = words(text)
    forms = analysed(found, language)
    places = dict(zip(forms.positions(), forms.terms, strict=True))
    if len(places) > 1 and len(found[-1]) > 1 and _IS_DENSE.match(found[-1]):
        places.popitem()
    return tuple(islice(places.items(), MOST_PLACES))


def folded(text: str) -> str:
    """Without accents, for Latin and Greek letters."""
    if text.isascii():
        return text
    bare = _ACCENTS.sub(r"\1", unicodedata.normalize("NFKD", text.translate(_LETTERS)))
    return unicodedata.normalize("NFKC", bare)


def prefix_of(text: str) -> str:
    """What the terms and words of a prefix query begin with."""
    return folded(_OUTER.sub("", unicodedata.normalize("NFKC", text)).lower())[:TERM_CHARACTERS]


def stemmer_language(language: str, text_words: Sequence[str]) -> str:
    """The code that a text of these words is analysed under: that of its ISO 639-1 code, else the one detected."""
    if not language:
        return detected(text_words[:LANGUAGE_WORDS])
    code = language.lower().replace("_", "-").partition("-")[0]
    return NEAR.get(code, code if code in STEMMERS else UNSTEMMED)


def detected(text_words: Sequence[str]) -> str:
    """The language with most function words among these, if that is two or more; else English.

    Of equally many, English goes first and then the one whose words are less shared.
    """
    table, foreign = _function_words()
    if len(foreign.intersection(text_words)) < 2:
        return "en"
    counts, shares = Counter(en=0), Counter[str]()
    for word in table.keys() & set(text_words):
        for language in table[word]:
            counts[language] += 1
            shares[language] += 60 // len(table[word])
    return max(counts, key=lambda language: (counts[language], language == "en", shares[language]))


_SCRIPT_LANGUAGES = tuple(
    (tuple(languages.split()), re.compile(f"[{letters}]"))
    for languages, letters in (
        ("ru uk bg sr mk be kk ky mn tg", "\u0400-\u04ff"), ("el", "\u0370-\u03ff"), ("he yi", "\u0590-\u05ff"),
        ("ar fa ur ps", "\u0600-\u06ff"), ("hi mr ne sa", "\u0900-\u097f"), ("bn as", "\u0980-\u09ff"),
        ("ta", "\u0b80-\u0bff"), ("te", "\u0c00-\u0c7f"), ("th", "\u0e00-\u0e7f"), ("ka", "\u10a0-\u10ff"),
        ("hy", "\u0530-\u058f"), ("ko", "\u1100-\u11ff\uac00-\ud7af"), ("ja", "\u3040-\u30ff"), ("zh", "\u4e00-\u9fff"),
    )
)  # fmt: skip
"""The languages that are written in other scripts than Latin. Kana come before the characters that Chinese has too."""

_SURE = 6
"""Different function words that tell a language."""


def likely_languages(text: str) -> tuple[str, ...]:
    """The ISO 639-1 codes of the languages that a text may be written in, if that is plain to see; else none.

    Another script than Latin is, in a third of the letters (of kana, a twentieth). In Latin letters it takes six
    different function words of a language, and twice as many as English has there: lists of names, tables and
    programs are in no language.
    """
    if not text.isascii():
        letters = sum(map(str.isalpha, text))
        for languages, script in _SCRIPT_LANGUAGES:
            if len(script.findall(text)) * (20 if "ja" in languages else 3) > letters:
                return languages
    table = _function_words()[0]
    found = table.keys() & {word.lower() for word in words(text)}
    if len(found) < _SURE:
        return ()
    counts = Counter(name for word in found for name in table[word])
    # Of equally many, that which is listed first.
    best = max(_FUNCTION_WORDS, key=lambda name: counts[name])
    sure = counts[best] >= _SURE and (best == "en" or counts[best] >= 2 * counts["en"])
    return (best,) if sure else ()


@cache
def _function_words() -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """The languages of every function word, and the words that are not English."""
    table: dict[str, tuple[str, ...]] = {}
    for language, listed in _FUNCTION_WORDS.items():
        for word in listed.split():
            table[word] = (*table.get(word, ()), language)
    return table, frozenset(word for word, languages in table.items() if "en" not in languages)


# --- words ------------------------------------------------------------------------------


class _Terms(dict[str, Forms]):
    """What is found for words when they are first asked for, and kept while they are asked for again."""

    def __init__(self, find: Callable[[str], Forms]) -> None:
        super().__init__()
        self._find = find
        self._before: dict[str, Forms] = {}

    def __missing__(self, word: str) -> Forms:
        forms = self._before.get(word) or self._find(word)
        if len(word) <= CACHED_CHARACTERS:
            if len(self) >= CACHED_WORDS:
                self._before = dict(self)
                self.clear()
            self[word] = forms
        return forms


class _Language:
    """The forms of the words of one language, kept in `terms`."""

    def __init__(self, language: str) -> None:
        self._stem = _stem(STEMMERS[language]) if language in STEMMERS else str
        self.terms = _Terms(self._forms)
        self._simple = _Terms(self._stemmed)

    def _forms(self, word: str) -> Forms:
        if not word.isascii() and _IS_DENSE.search(word):
            # The last character alone closes a run: every character then begins a term, and can be found by itself.
            pairs = [a + b for a, b in pairwise(word)]
            return Forms((*pairs, word[-1]), (1,) * len(word))
        if word[-1] in "+#":
            return _together(Forms((word.lower()[-TERM_CHARACTERS:],), (1,)), self.terms[word.rstrip("+#")])
        parts = _parts(word)
        if len(parts) > 1:
            return _together(self._one(_OUTER.sub("", word)), _in_a_row([self._humps(part) for part in parts]))
        return self._humps(parts[0] if parts else word)

    def _humps(self, word: str) -> Forms:
        pieces = [] if word[1:] == word[1:].lower() else _HUMPS.split(word)
        whole = self._one(word)
        return _together(whole, _in_a_row([self._one(piece) for piece in pieces])) if len(pieces) > 1 else whole

    def _one(self, word: str) -> Forms:
        """A word without joints: its stem; if it has accents, the stem without accents too."""
        return self._simple[word.lower()[:TERM_CHARACTERS]]

    def _stemmed(self, lower: str) -> Forms:
        if lower.isascii():
            stem = self._stem(lower) or lower
            return Forms((stem,), (1,), () if stem == lower else (lower,))
        by_script = next((_stem(name) for script, name in SCRIPTS if script.search(lower)), self._stem)
        bare = folded(lower)
        terms = tuple(dict.fromkeys(term for term in (folded(by_script(lower)), by_script(bare)) if term)) or (bare,)
        return Forms(terms, (1, *[0] * (len(terms) - 1)), () if bare in terms else (bare,))


@cache
def _terms(language: str) -> _Terms:
    return _Language(language).terms


def _together(whole: Forms, parts: Forms) -> Forms:
    """A whole and its parts, beginning at one position."""
    return Forms(whole.terms + parts.terms, (*whole.steps, 0, *parts.steps[1:]), whole.plain + parts.plain)


def _in_a_row(parts: Iterable[Forms]) -> Forms:
    terms, steps, plain = zip(*parts, strict=True)
    return Forms(tuple(chain(*terms)), tuple(chain(*steps)), tuple(chain(*plain)))


def _parts(word: str) -> list[str]:
    if word.isalnum():
        return [word]
    parts = [part for part in _JOINTS.split(word) if part]
    if "'" in word or "’" in word:
        # Letters that were cut off: the s of "dog's", the l of "l'homme".
        parts = [part for part in parts if len(part) > 1] or parts
    return parts


@cache
def _stem(name: str) -> Callable[[str], str]:
    import tantivy

    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.raw())
    analyzer = builder.filter(tantivy.Filter.stemmer(name)).build()

    def stem(word: str) -> str:
        return "".join(analyzer.analyze(word))

    return stem
