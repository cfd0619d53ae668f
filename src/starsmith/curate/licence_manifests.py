"""The licence fields of package manifests: package.json, Cargo.toml, METADATA, pom.xml, DESCRIPTION and their like.

Section 1.4 reads no manifests; an author's own field is nevertheless the plainest statement there is. Nothing is
executed or expanded: structured formats go to the standard library's parsers within a size limit, the rest (Ruby, XML,
Lua …) is searched for one literal field. What does not fit states nothing.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from starsmith.curate.licence_expression import PROPRIETARY, UNKNOWN, Statement, join, named, normalise

MAX_MANIFEST: Final = 262_144
"""Characters of a manifest that are read at most; a longer structured one states nothing."""
MAX_VALUE: Final = 400
_MAX_DOTS: Final = 500

_SEE_FILE = re.compile(
    r"^(?:see |file |refer )|licen[cs]e(?:\.\w+)?$|"
    r"^(?:other|dual(?: licen[cs]e)?|custom|unknown|none|n/?a|tbd|todo|noassertion)\b",
    re.IGNORECASE,
)
_ANNOTATION = re.compile(r"[,;.]? \(?see .*$", re.IGNORECASE | re.DOTALL)
_QUOTED = re.compile(r"""["']([^"'\n]{1,200})["']""")
_GEM = re.compile(r"^[ \t]{0,99}\w{1,40}\.licen[cs]es?\s*=\s*([^\n]{1,400})", re.MULTILINE)
_POD = re.compile(r"""(?::type\s*=>|type:|['"]type['"]\s*=>)\s*["']([^"'\n]{1,200})["']""")
_FIELD = re.compile(
    r"""^[ \t]{0,99}licen[cs]e[ \t]{0,99}[=:][ \t]{0,99}(\[[^\]]{1,400}\]|["'][^"'\n]{1,300}["'])""", re.MULTILINE
)
_CABAL = re.compile(r"^licen[cs]e\s*:[ \t]*([^\n]{1,300})$", re.MULTILINE | re.IGNORECASE)
_SDL = re.compile(r'^licen[cs]e\s+"([^"\n]{1,200})"', re.MULTILINE)
_MIX = re.compile(r"licen[cs]es:\s*\[([^\]]{1,400})\]")
_SETUP_LICENCE = re.compile(
    r"""^[ \t]{0,99}["']?licen[cs]e["']?[ \t]{0,99}[=:][ \t]{0,99}["']([^"'\n]{1,200})["']""", re.MULTILINE
)
_CLASSIFIER = re.compile(r"""["'](License :: [^"'\n]{1,150})["']""")
_XML_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_XML_NAME = re.compile(r"<(name|url)>([^<]{1,300})</\1>")
_R_LEAST = re.compile(r"\s*\(\s*>=?\s*([\d.]+)\s*\)")
_R_FILE = re.compile(r"\s*\+?\s*file\s+licen[cs]e\b", re.IGNORECASE)


def is_manifest(file_name: str) -> bool:
    """Return whether files of this name may hold a licence field that is understood here."""
    return _reader(file_name) is not None


def manifest_statement(file_name: str, text: str) -> Statement | None:
    """Return the licence a manifest's field states, or None if it states none or is malformed.

    >>> manifest_statement("package.json", '{"license": "(MIT OR GPL-3.0)"}').expression
    'GPL-3.0-only OR MIT'
    """
    reader = _reader(file_name)
    if reader is None or "licen" not in text.lower()[:MAX_MANIFEST]:
        return None
    try:
        expression = reader(text[: MAX_MANIFEST + 1])
    except (ValueError, RecursionError):
        # Both parsers raise ValueError for what is malformed and RecursionError for what is nested to no purpose.
        return None
    return None if expression is None else Statement(kind="manifest", expression=expression)


def _reader(file_name: str) -> Callable[[str], str | None] | None:
    return _BY_NAME.get(file_name) or _BY_SUFFIX.get("." + file_name.rpartition(".")[2] if "." in file_name else "")


def value_expression(value: object) -> str | None:
    """Return the expression of one field value; a reference to a file or an unknown word states nothing.

    >>> value_expression("SEE LICENSE IN eula.txt"), value_expression("Apache 2.0")
    (None, 'Apache-2.0')
    """
    if not isinstance(value, str) or len(value) > MAX_VALUE or "\n" in value.strip():
        return None
    value = _ANNOTATION.sub("", value.strip())
    if value.upper() == "UNLICENSED":
        return PROPRIETARY
    if (known := named(value)) is not None:
        return known
    expression = None if _SEE_FILE.search(value) else normalise(value)
    # One unknown part among known ones is a statement to be careful about; a wholly unknown one says nothing.
    return None if expression == UNKNOWN else expression


def _together(values: Iterable[object], *, choice: bool) -> str | None:
    found = [expression for value in values if (expression := value_expression(value)) is not None]
    return join("OR" if choice else "AND", found) if found else None


def _json(text: str) -> dict[str, Any]:
    _check_size(text)
    loaded = json.loads(text.removeprefix("\ufeff"))
    return loaded if isinstance(loaded, dict) else {}


def _toml(text: str) -> dict[str, Any]:
    _check_size(text)
    # The parser takes quadratic time over a dotted key: 9 s for one of 130,000 parts.
    if any(line.count(".") > _MAX_DOTS for line in text.split("\n")):
        raise ValueError("a key of too many parts")
    return tomllib.loads(text.replace("\r\n", "\n"))


def _check_size(text: str) -> None:
    if len(text) > MAX_MANIFEST:
        raise ValueError("too long to be a manifest")


def _table(data: dict[str, Any], *path: str) -> dict[str, Any]:
    for name in path:
        inner = data.get(name)
        data = inner if isinstance(inner, dict) else {}
    return data


def _listed(value: object) -> list[object]:
    return list(value)[:50] if isinstance(value, list) else [value]


def _type_of(value: object) -> object:
    return value.get("type", value.get("name")) if isinstance(value, dict) else value


def _package_json(text: str) -> str | None:
    # npm: a list, deprecated since 2014, offered a choice.
    data = _json(text)
    values = [_type_of(value) for key in ("license", "licence", "licenses") for value in _listed(data.get(key))]
    return _together(values, choice=True)


def _composer_json(text: str) -> str | None:
    # Composer's schema: "for a package, when there is a choice between licenses" a list is that choice.
    return _together(_listed(_json(text).get("license")), choice=True)


def _dub_json(text: str) -> str | None:
    return value_expression(_json(text).get("license"))


def _cpan_meta_json(text: str) -> str | None:
    data = _json(text)
    return _together(_listed(data.get("license")), choice=False) if "meta-spec" in data else None


def _cargo(text: str) -> str | None:
    data = _toml(text)
    found = value_expression(_table(data, "package").get("license"))
    return found or value_expression(_table(data, "workspace", "package").get("license"))


def _pyproject(text: str) -> str | None:
    data = _toml(text)
    project = _table(data, "project")
    licence = project.get("license")
    stated = licence.get("text") if isinstance(licence, dict) else licence
    return (
        value_expression(stated)
        or _classified(_listed(project.get("classifiers")))
        or value_expression(_table(data, "tool", "poetry").get("license"))
        or value_expression(_table(data, "tool", "flit", "metadata").get("license"))
    )


def _classified(classifiers: Iterable[object]) -> str | None:
    """Return what trove classifiers state together. Several are ANDed: they are a list of what applies somewhere."""
    texts = [value for value in classifiers if isinstance(value, str) and value.startswith("License ::")]
    return _together((value for value in texts if value != "License :: OSI Approved"), choice=False)


def _setup_cfg(text: str) -> str | None:
    fields = dict(_ini_fields(text))
    licence = fields.get("license", fields.get("licence", ""))
    classifiers = (fields.get("classifiers", "") + "\n" + fields.get("classifier", "")).split("\n")
    return value_expression(licence.strip()) or _classified(line.strip() for line in classifiers)


def _ini_fields(text: str) -> Iterator[tuple[str, str]]:
    """Yield the fields of the [metadata] section, continuation lines included."""
    section, name, lines = "", "", list[str]()
    for line in [*text[:MAX_MANIFEST].splitlines(), "[end]"]:
        if line[:1].isspace() and name:
            lines.append(line)
            continue
        if name and section == "metadata":
            yield name, "\n".join(lines)
        name, _, value = line.partition("=")
        name, lines = name.strip().lower(), [value]
        if line.startswith("["):
            section, name = line.strip().strip("[]"), ""


def _core_metadata(text: str) -> str | None:
    """PKG-INFO and METADATA: the expression decides, else the licence field, else the classifiers."""
    fields: dict[str, list[str]] = {}
    for line in text.splitlines()[:2000]:
        name, colon, value = line.partition(":")
        if not line:
            break
        if colon and not line[0].isspace():
            fields.setdefault(name.lower(), []).append(value.strip())
        elif line[0].isspace() and "license" in fields and name:
            fields["license"].append(line)
    licence = fields.get("license", [])
    return (
        _together(fields.get("license-expression", [])[:1], choice=False)
        or (value_expression(licence[0]) if len(licence) == 1 else None)
        or _classified(fields.get("classifier", []))
    )


def _setup_py(text: str) -> str | None:
    text = text[:MAX_MANIFEST]
    found = _SETUP_LICENCE.search(text)
    return (value_expression(found[1]) if found else None) or _classified(_CLASSIFIER.findall(text)[:50])


def _pom(text: str) -> str | None:
    # Maven's POM reference: where several licences are listed, the user may choose.
    text = _XML_COMMENT.sub("", text[:MAX_MANIFEST])
    start = text.find("<licenses>")
    block = text[start : text.find("</licenses>", start)][:20_000] if start >= 0 else ""
    licences = (dict(_XML_NAME.findall(part)) for part in block.split("<license>")[1:50])
    stated = (
        value_expression(each.get("name", "").strip()) or value_expression(each.get("url", "").strip())
        for each in licences
    )
    return _together([expression or UNKNOWN for expression in stated], choice=True)


def _gemspec(text: str) -> str | None:
    values = [value for line in _GEM.findall(text[:MAX_MANIFEST])[:5] for value in _QUOTED.findall(line)]
    return _together(values, choice=False)


def _podspec(text: str) -> str | None:
    line = _GEM.search(text[:MAX_MANIFEST])
    if line is None:
        return None
    types = _POD.findall(line[1])
    return _together(types or _QUOTED.findall(line[1])[:1], choice=False)


def _description(text: str) -> str | None:
    """R: alternatives are separated by `|`; "+ file LICENSE" only names the file with the copyright holders."""
    lines = text[:MAX_MANIFEST].splitlines()[:500]
    if not any(line.startswith("Package:") for line in lines):
        return None
    licence = next((line.partition(":")[2] for line in lines if line.startswith(("License:", "Licence:"))), "")
    parts = [_R_LEAST.sub(r" \1+", _R_FILE.sub("", part)).strip() for part in licence.split("|")]
    return _together([part for part in parts if part], choice=True)


def _literal_field(text: str) -> str | None:
    """`license = "MIT"` and `license: ["MIT" "ISC"]`: nimble, rockspec, opam."""
    found = _FIELD.search(text[:MAX_MANIFEST])
    return _together(_QUOTED.findall(found[1]), choice=False) if found else None


def _cabal(text: str) -> str | None:
    found = _CABAL.search(text[:MAX_MANIFEST])
    return value_expression(found[1].strip()) if found else None


def _sdl(text: str) -> str | None:
    found = _SDL.search(text[:MAX_MANIFEST])
    return value_expression(found[1]) if found else None


def _mix(text: str) -> str | None:
    found = _MIX.search(text[:MAX_MANIFEST])
    return _together(_QUOTED.findall(found[1]), choice=False) if found else None


_BY_NAME: Final[dict[str, Callable[[str], str | None]]] = {
    "Cargo.toml": _cargo,
    "DESCRIPTION": _description,
    "META.json": _cpan_meta_json,
    "METADATA": _core_metadata,
    "PKG-INFO": _core_metadata,
    "bower.json": _package_json,
    "composer.json": _composer_json,
    "dub.json": _dub_json,
    "dub.sdl": _sdl,
    "mix.exs": _mix,
    "opam": _literal_field,
    "package.json": _package_json,
    "pom.xml": _pom,
    "pyproject.toml": _pyproject,
    "setup.cfg": _setup_cfg,
    "setup.py": _setup_py,
}
_BY_SUFFIX: Final[dict[str, Callable[[str], str | None]]] = {
    ".cabal": _cabal,
    ".gemspec": _gemspec,
    ".nimble": _literal_field,
    ".opam": _literal_field,
    ".podspec": _podspec,
    ".rockspec": _literal_field,
}
