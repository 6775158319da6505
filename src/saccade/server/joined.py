"""The modules of the page as one file, so that a first visit waits for one answer and not for forty; knows the few
forms of import and export that the modules use, and no more of the language.

    export class Painter {}                   m["stream.js"] = (() => { class Painter {} return { Painter }; })();
    import { Painter } from "./stream.js";    m["live.js"] = (() => { const { Painter } = m["stream.js"]; })();
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

_IMPORT = re.compile(r'^(import|export) (?:\{([^{}]*)\} from )?"(\.[^"]+)";$', re.MULTILINE)
_DECLARED = re.compile(r"^export (?=(?:const|class|function|async function)\b\*? ?(\w+))", re.MULTILINE)
_LISTED = re.compile(r"\bexport ?\{([^{}]*)\};?\s*$")
_OTHER = re.compile(r"^(?:import|export)\b(?!\()", re.MULTILINE)


def joined(modules: Mapping[str, str], first: str) -> str:
    """`modules`: texts by path. The module `first` with all that it imports, each once and after what it needs.
    ValueError for a circle, and for a form of import or export that is none of ours."""
    done: dict[str, str] = {}
    _add(modules, first, done, ())
    return "const m = {};\n" + "\n".join(done.values())


def _add(modules: Mapping[str, str], path: str, done: dict[str, str], above: tuple[str, ...]) -> None:
    if path in done:
        return
    if path in above:
        raise ValueError(f"{path} imports itself, by way of {above[-1]}")
    exports: list[str] = []

    def taken(match: re.Match[str]) -> str:
        how, names, address = match.groups()
        source = posixpath.normpath(posixpath.join(posixpath.dirname(path), address))
        _add(modules, source, done, (*above, path))
        if how == "export":
            exports.extend(f"{new}: m[{source!r}].{old}" for old, new in _pairs(names))
            return ""
        names = ", ".join(old if old == new else f"{old}: {new}" for old, new in _pairs(names or ""))
        return f"const {{ {names} }} = m[{source!r}];" if names else ""

    def declared(match: re.Match[str]) -> str:
        exports.append(match[1])
        return ""

    def listed(match: re.Match[str]) -> str:
        exports.extend(f"{new}: {old}" for old, new in _pairs(match[1]))
        return ""

    body = _LISTED.sub(listed, _DECLARED.sub(declared, _IMPORT.sub(taken, modules[path])))
    if strange := _OTHER.search(body):
        raise ValueError(f"{path}: {body[strange.start() :].splitlines()[0][:80]!r} is no form that can be joined")
    done[path] = f"m[{path!r}] = (() => {{\n{body}\nreturn {{ {', '.join(exports)} }};\n}})();"


def _pairs(names: str) -> list[tuple[str, str]]:
    """(name, name after "as", which is the same where there is none)."""
    found = (name.split() for name in names.split(",") if name.strip())
    return [(words[0], words[-1]) for words in found]
