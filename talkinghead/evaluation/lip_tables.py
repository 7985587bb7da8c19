"""Tables of what lips do: beside filmed ones, and where the phones are known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .intervals import NAN, compared_areas, mean, ratio
from .lipsync import FPS, LAGS, MEASURES, NOW, Agreement, best_common_lag
from .noise import KINDS
from .phonetic import (
    BILABIALS,
    CONTRASTS,
    NEARLY_SHUT,
    STOPS,
    Area,
    Spoken,
    Voiced,
    closed_share,
    contrast_areas,
    phone_rows,
)
from .tables import Cell, Table

MS_PER_FRAME = round(1000 / FPS)
SOURCES = {"words": "words known", "given": "times given", "recognised": "recognised"}
KNOWN = ("words", "given")
TARGETS = ("gap", "jaw", "pucker")
MOUTHS = ("ours", "loudness", "frozen", "wrong sound")


def film_tables(agreements: Sequence[Agreement]) -> list[Table]:
    """What is measured on videos."""
    if not agreements:
        return []
    return [_agreement_table(agreements), _lag_table(agreements), _amount_table(agreements), _clip_table(agreements)]


def _agreement_table(agreements: Sequence[Agreement]) -> Table:
    def row(name: str) -> tuple[Cell, ...]:
        ours, loud, wrong = (
            np.array([getattr(each, who)[name][NOW] for each in agreements]) for who in ("ours", "loud", "wrong")
        )
        return name, mean(ours), mean(loud), mean(wrong), mean(ours - loud), mean(ours - wrong)

    note = (
        "Correlation of the made with the tracked inner-lip aperture, mouth width and chin-nose distance at lag 0, "
        "mean over clips. *Wrong sound*: our lips for other clips' sound (of one clip alone: for its own, half its "
        "length late). A frozen mouth has none."
    )
    columns = "measure", "ours r", "loudness r", "wrong sound r", "ours − loudness", "right − wrong sound"
    return Table("lips", f"Filmed lips ({len(agreements)} clips)", columns, [row(name) for name in MEASURES], note)


def _lag_table(agreements: Sequence[Agreement]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name in MEASURES:
        cells: list[Cell] = [name]
        for who in ("ours", "loud"):
            tracks = [getattr(each, who)[name] for each in agreements]
            lag, best = best_common_lag(tracks)
            highest = [np.max(track[np.isfinite(track)], initial=-np.inf) for track in tracks]
            cells += [lag * MS_PER_FRAME, best, mean([value if np.isfinite(value) else NAN for value in highest])]
        rows.append(tuple(cells))
    columns = (
        "measure", "best common lag, ms", "ours r there", "ours r, best lag of each clip",
        "loudness: best common lag, ms", "loudness r there", "loudness r, best lag of each clip",
    )  # fmt: skip
    note = f"Lags of {LAGS[0] * MS_PER_FRAME} to {LAGS[-1] * MS_PER_FRAME} ms; above 0 the made signal is late. "
    note += "The best of several lags is above 0 for noise too: compare with loudness."
    return Table("lags", "Filmed lips: lags", columns, rows, note)


def _amount_table(agreements: Sequence[Agreement]) -> Table:
    def values(kind: str, who: str) -> list[float]:
        return [getattr(each, kind)[who] for each in agreements]

    def shut(field: str, who: str) -> list[float]:
        return [getattr(each.shut[who], field) for each in agreements]

    silent = [each for each in agreements if each.silent > 0]
    rows: list[tuple[Cell, ...]] = [
        ("aperture SD / real", *(mean(values("amplitude", who)) for who in MOUTHS), 1.0),
        ("aperture speed SD / real", *(mean(values("speed", who)) for who in MOUTHS), 1.0),
        ("aperture error, eye distances", *(mean(values("error", who)) for who in MOUTHS), 0.0),
    ]
    if silent:
        rows.append((f"silence: share of frames shut ({len(silent)} clips)",
                     *(mean(shut("shut", who)) for who in (*MOUTHS, "real"))))  # fmt: skip
        rows.append((f"silence: opening / 95th percentile ({len(silent)} clips)",
                     *(mean(shut("open", who)) for who in (*MOUTHS, "real"))))  # fmt: skip
    note = (
        "*Loudness* here is as wide as ours; *frozen* is our mean. *Shut*: the gap is under 5 % of the clip's 95th "
        "percentile, of ours for the made mouths. People often rest with open lips."
    )
    return Table("amount", "Filmed lips: how much they move", ("measure", *MOUTHS, "real"), rows, note)


def _clip_table(agreements: Sequence[Agreement]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for each in agreements:
        lag, best = best_common_lag([each.ours["aperture"]])
        cells: list[Cell] = [each.name]
        for name in MEASURES:
            cells += [float(each.ours[name][NOW]), float(each.loud[name][NOW])]
        cells += [f"{best:.2f} at {lag * MS_PER_FRAME:+d} ms", each.amplitude["ours"], each.speed["ours"]]
        cells += [each.shut["ours"].shut, each.shut["ours"].open]
        rows.append(tuple(cells))
    columns = (
        "clip", *(f"{name} r{of}" for name in MEASURES for of in ("", ", loudness")), "aperture r at best lag",
        "SD / real", "speed / real", "shut in silence", "open in silence",
    )  # fmt: skip
    return Table("clips", "Filmed lips: each clip", columns, rows)


def phone_tables(voiced: Sequence[Voiced], noise: float | None) -> list[Table]:
    """What is measured where phones are known."""
    if not voiced:
        return []
    return [
        _contrast_table(voiced, noise), _closed_table(voiced, noise), _target_table(voiced), _pause_table(voiced),
        *_real_tables(voiced), _phone_table(voiced), _voiced_table(voiced),
    ]  # fmt: skip


def groups(voiced: Sequence[Voiced]) -> list[tuple[str, list[Voiced]]]:
    """Recordings whose words are known, and those whose words are only recognised; without empty groups."""
    known = [each for each in voiced if each.source in KNOWN]
    guessed = [each for each in voiced if each.source not in KNOWN]
    return [(name, some) for name, some in (("words known", known), ("recognised", guessed)) if some]


def joined(voiced: Iterable[Voiced], who: str) -> Spoken:
    """One mouth at the phones of several recordings."""
    return Spoken.joined([each.mouths[who] for each in voiced if who in each.mouths])


def contrasts(voiced: Sequence[Voiced], who: str = "ours") -> list[Area]:
    """The contrasts over several recordings; with `who` a kind of noise, of our mouth in it."""
    loudness = "loudness" if who == "ours" else f"{who} loudness"
    return contrast_areas(joined(voiced, who), joined(voiced, loudness), joined(voiced, "wrong sound"))


def sounds(voiced: Sequence[Voiced], noise: float | None) -> list[tuple[str, str]]:
    """What our mouths were made from: "ours" for the sound itself, and kinds of noise, with names."""
    kinds = [(kind, f"{kind} noise, {noise:g} dB") for kind in KINDS] if noise is not None else []
    return [("ours", "clean"), *((kind, name) for kind, name in kinds if all(kind in each.mouths for each in voiced))]


def _contrast_table(voiced: Sequence[Voiced], noise: float | None) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for group, some in groups(voiced):
        for who, sound in sounds(some, noise):
            for area in contrasts(some, who):
                count = f"{area.counts[0]} / {area.counts[1]}"
                rows.append((area.contrast, group, sound, count, area.ours, area.loudness, area.wrong, area.gain))
    note = (
        "Area under the ROC curve (0.5 is chance, and a frozen mouth): is the least gap smaller at p b m than at stops "
        "that need no lips; are mouthPucker + mouthFunnel higher at round sounds; is mouthRollLower higher at f v. "
        "*Loudness* and *wrong sound* the same way: the loudness for each of the three, in noise the noisy sound's."
    )
    columns = "contrast", "phones", "sound", "n", "ours", "loudness", "wrong sound", "ours − loudness"
    return Table("contrasts", "Speech with words: contrasts", columns, rows, note)


def _closed_table(voiced: Sequence[Voiced], noise: float | None) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for group, some in groups(voiced):
        for who, sound in [*sounds(some, noise), ("loudness", "loudness"), ("wrong sound", "wrong sound")]:
            mouth = joined(some, who)
            stops = (closed_share(mouth, STOPS, alone=alone) for alone in (False, True))
            rows.append((group, sound, closed_share(mouth, BILABIALS), *stops))
    note = "Least gap under 5 % of GAP_CM. A frozen mouth shuts at none of them. Lips that shut for a p b m are shut "
    note += "already, or still, in the stop beside it: the last column leaves those stops out."
    columns = "phones", "mouth", "p b m shut", "t d n k g ng shut", "not beside p b m"
    return Table("closed", "Speech with words: lips that shut", columns, rows, note)


def _target_table(voiced: Sequence[Voiced]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for group, some in groups(voiced):
        for channel in TARGETS:
            ours, loud, wrong = (
                np.array([each.targets[channel][who] for each in some]) for who in ("ours", "loudness", "wrong sound")
            )
            rows.append((channel, group, mean(ours), mean(loud), mean(wrong), mean(ours - loud)))
    note = "Correlation with the articulation model's motion for the aligned phones, mean over recordings."
    columns = "channel", "phones", "ours r", "loudness r", "wrong sound r", "ours − loudness"
    return Table("targets", "Speech with words: articulation", columns, rows, note)


def _pause_table(voiced: Sequence[Voiced]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for group, some in groups(voiced):
        here = [each for each in some if each.paused > 0]
        seconds = sum(each.paused for each in here)
        for name, field in (("share of frames shut", "shut"), ("opening / 95th percentile", "open")):
            cells = [
                ratio([getattr(each.pauses[who], field) * each.paused for each in here], [e.paused for e in here])
                for who in MOUTHS
            ]
            if here:
                rows.append((name, group, f"{seconds:.1f} s in {len(here)} clips", *cells))
    note = "Inside aligned pauses, 0.12 s after they begin to 0.10 s before they end."
    return Table("pauses", "Speech with words: pauses", ("measure", "phones", "pauses", *MOUTHS), rows, note)


def _real_tables(voiced: Sequence[Voiced]) -> list[Table]:
    """Real lips at the phones of filmed clips, and ours there: what the contrasts could at best be."""
    here = [each for each in voiced if "real" in each.mouths]
    if not here:
        return []
    real, ours, loud = (joined(here, who) for who in ("real", "ours", "loudness"))
    rows: list[tuple[Cell, ...]] = []
    for who, mouth in (("real", real), ("ours", ours), ("loudness", loud)):
        for name, phones in (("p b m", BILABIALS), ("t d n k g ng", STOPS)):
            least = mouth.least[mouth.among(phones)]
            middle = float(np.median(least)) if len(least) else NAN
            rows.append(
                (who, name, len(least), middle, closed_share(mouth, phones), closed_share(mouth, phones, NEARLY_SHUT))
            )
    note = (
        f"On the {len(here)} filmed clips whose phones are known: least gap as a share of the widest (of real lips: "
        "the clip's 95th percentile; of ours: GAP_CM)."
    )
    columns = "lips", "phones", "n", "median least gap", "share under 5 %", f"under {100 * NEARLY_SHUT:.0f} %"
    areas: list[tuple[Cell, ...]] = []
    for contrast in CONTRASTS[:2]:  # the lip at the teeth cannot be tracked
        sides = real.sides(contrast)
        seen, made, more = compared_areas(sides, ours.sides(contrast))
        areas.append((contrast.name, f"{len(sides[0])} / {len(sides[1])}", seen, made, more))
    return [
        Table("real_closure", "Filmed lips at p b m", columns, rows, note),
        Table("real_contrasts", "Filmed lips: contrasts", ("contrast", "n", "real", "ours", "real − ours"), areas,
              "AUCs as above. Rounding of real lips is their narrowness."),
    ]  # fmt: skip


def _phone_table(voiced: Sequence[Voiced]) -> Table:
    whos = ["ours", "loudness"] + (["real"] if any("real" in each.mouths for each in voiced) else [])
    rows = phone_rows({who: joined(voiced, who) for who in whos})
    note = "Medians over all recordings; gaps as shares of GAP_CM, real ones of the clip's 95th percentile. "
    note += "*Viseme*: what the articulation model wants, before its neighbours blend in."
    cells = [(r.phone, r.said, r.least, r.gap, r.low, r.high, r.loudness, r.target, r.real) for r in rows]
    columns = "phone", "n", "least gap", "mean gap", "quartile", "to", "loudness", "viseme", "real"
    return Table("phones", "Speech with words: gap by phone", columns, cells, note)


def _voiced_table(voiced: Sequence[Voiced]) -> Table:
    heads = (f"{channel} r{of}" for channel in TARGETS for of in ("", ", loudness"))
    columns = "recording", "phones", "n", *heads
    rows: list[tuple[Cell, ...]] = []
    for each in voiced:
        cells = [each.targets[channel][who] for channel in TARGETS for who in ("ours", "loudness")]
        rows.append((each.name, SOURCES[each.source], len(each.mouths["ours"].phones), *cells))
    return Table("recordings", "Speech with words: each recording", columns, rows)
