"""Rebuilds src/starsmith/data/licences.json: what is known of each licence id, and the names people write for it.

Two unpacked packages are the input, given as folders:

    npm pack @blueoak/list@15.0.0                       (licence CC0-1.0)
    pip download --no-deps licensedcode-data==32.1.0    (data: CC-BY-4.0, nexB Inc. and others)
    python scripts/build_licence_data.py BLUE_OAK_FOLDER LICENSEDCODE_FOLDER --date 2026-11-23

Only facts are taken: ids, former ids, names, categories, ratings. No licence text, rule or sentence is copied. The
spellings in ALIASES are Starsmith's own list of what package registries and people call a licence.
"""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "src" / "starsmith" / "data" / "licences.json"

ALIASES: dict[str, tuple[str, ...]] = {
    "0BSD": ("Zero-Clause BSD", "BSD Zero Clause", "0-clause BSD", "Free Public License 1.0.0"),
    "AFL-3.0": ("AFL", "Academic Free License", "AFL 3.0"),
    "AGPL-3.0-only": ("AGPL", "AGPL-3.0", "AGPL3", "GNU AGPL", "GNU AGPL 3", "GNU Affero General Public License v3")
    + ("GNU Affero General Public License", "Affero GPL", "agpl_3", "GNU Affero GPL v3", "GNU AGPLv3"),
    "AGPL-3.0-or-later": ("AGPL+", "AGPLv3+", "AGPL 3+", "GNU AGPLv3+", "GNU Affero General Public License v3+")
    + ("GNU Affero General Public License v3 or later (AGPLv3+)",),
    "Apache-1.1": ("Apache 1.1", "apache_1_1"),
    "Apache-2.0": ("Apache", "Apache 2", "Apache 2.0", "ASL", "ASL 2.0", "AL2", "ALv2", "Apache Software License")
    + ("Apache Software", "Apache Software 2", "Apache Software License 2.0", "Apache License, Version 2.0")
    + ("Apache License (== 2.0)", "Apache License (>= 2)", "Apache License (>= 2.0)", "apache_2_0")
    + ("Apache Public License 2.0", "http://www.apache.org/licenses/LICENSE-2.0")
    + ("https://www.apache.org/licenses/LICENSE-2.0", "http://www.apache.org/licenses/LICENSE-2.0.txt")
    + ("https://www.apache.org/licenses/LICENSE-2.0.txt", "Apache Software Licenses", "Apache Licence 2.0"),
    "Artistic-1.0": ("Artistic 1.0", "artistic_1"),
    "Artistic-2.0": ("Artistic", "Artistic 2.0", "artistic_2"),
    "Artistic-1.0-Perl OR GPL-1.0-or-later": ("perl", "perl_5", "Perl 5", "Same as Perl", "Artistic or GPL")
    + ("Artistic-1.0 or GPL-1.0-or-later", "GPL or Artistic", "same terms as Perl itself", "Artistic/GPL"),
    "BSD-2-Clause": ("BSD 2-clause", "2-clause BSD", "Simplified BSD", "BSD-2", "BSD2", "FreeBSD", "BSD_2_clause")
    + (
        "BSD 2 clause Simplified",
        "BSD Simplified",
        "BSD two clause",
        "two-clause BSD",
        "https://opensource.org/licenses/BSD-2-Clause",
    ),
    "BSD-3-Clause": ("BSD", "BSD 3-clause", "3-clause BSD", "New BSD", "Modified BSD", "Revised BSD", "BSD-3", "BSD3")
    + ("BSD 3 clause New", "BSD New", "BSD-new", "BSD_3_clause", "BSD style", "BSD-like", "new-style BSD")
    + ("three-clause BSD", "BSD three clause", "https://opensource.org/licenses/BSD-3-Clause", "BSD-derived")
    + ("BSD-3-Clause New or Revised", "The New BSD", "EDL 1.0", "Eclipse Distribution License", "BSD licenses")
    + ("Eclipse Distribution License 1.0", "Eclipse Distribution License v. 1.0", "bsd license 3"),
    "BSD-4-Clause": ("BSD 4-clause", "4-clause BSD", "Original BSD", "old BSD"),
    "BSL-1.0": ("Boost", "Boost Software License", "Boost Software License 1.0", "Boost 1.0", "BSL", "BSL 1.0")
    + ("Boost Software License 1.0 (BSL-1.0)",),
    "BUSL-1.1": ("Business Source License", "Business Source License 1.1", "BUSL", "BSL 1.1"),
    "CC-BY-3.0": ("CC BY 3.0", "Creative Commons Attribution 3.0"),
    "CC-BY-4.0": ("CC BY", "CC BY 4.0", "Creative Commons Attribution", "Creative Commons Attribution 4.0")
    + ("http://creativecommons.org/licenses/by/4.0", "https://creativecommons.org/licenses/by/4.0"),
    "CC-BY-SA-3.0": ("CC BY-SA 3.0",),
    "CC-BY-SA-4.0": ("CC BY-SA", "CC BY-SA 4.0", "Creative Commons Attribution-ShareAlike 4.0"),
    "CC-BY-NC-4.0": ("CC BY-NC", "CC BY-NC 4.0", "Creative Commons Attribution-NonCommercial 4.0"),
    "CC-BY-NC-SA-4.0": ("CC BY-NC-SA", "CC BY-NC-SA 4.0"),
    "CC0-1.0": ("CC0", "CC0 1.0", "CC0 1.0 Universal", "Creative Commons Zero", "Creative Commons CC0")
    + ("CC0 1.0 Universal (CC0 1.0) Public Domain Dedication", "http://creativecommons.org/publicdomain/zero/1.0")
    + ("https://creativecommons.org/publicdomain/zero/1.0", "Creative Commons 0"),
    "CDDL-1.0": ("CDDL", "CDDL 1.0", "Common Development and Distribution License")
    + ("Common Development and Distribution License 1.0 (CDDL-1.0)",),
    "CDDL-1.1": ("CDDL 1.1",),
    "CECILL-2.1": ("CeCILL", "CeCILL 2.1", "CeCILL v2.1", "CEA CNRS Inria Logiciel Libre License")
    + ("CEA CNRS Inria Logiciel Libre License, version 2.1 (CeCILL-2.1)",),
    "CECILL-B": ("CeCILL-B", "CeCILL-B Free Software License Agreement (CECILL-B)"),
    "CECILL-C": ("CeCILL-C", "CeCILL-C Free Software License Agreement (CECILL-C)"),
    "CPL-1.0": ("CPL", "Common Public License"),
    "ECL-2.0": ("Educational Community License", "Educational Community License, Version 2.0 (ECL-2.0)"),
    "EPL-1.0": ("Eclipse", "Eclipse Public License", "EPL", "EPL 1.0", "Eclipse Public License 1.0 (EPL-1.0)")
    + ("Eclipse Public License v 1.0", "http://www.eclipse.org/legal/epl-v10.html"),
    "EPL-2.0": ("EPL 2.0", "Eclipse Public License 2.0 (EPL-2.0)", "Eclipse Public License v. 2.0")
    + ("https://www.eclipse.org/legal/epl-2.0",),
    "EUPL-1.1": ("EUPL 1.1", "European Union Public Licence 1.1 (EUPL 1.1)"),
    "EUPL-1.2": ("EUPL", "EUPL 1.2", "European Union Public Licence 1.2 (EUPL 1.2)"),
    "GFDL-1.3-only": (
        "GFDL",
        "GFDL 1.3",
        "GNU Free Documentation License",
        "GNU Free Documentation License (FDL)",
        "FDL",
    ),
    "GPL-1.0-or-later": ("GPL", "GNU GPL", "GNU", "GNU General Public License", "GNU General Public License (GPL)")
    + ("General Public License", "GNU Public License", "GNU GPL+", "GPL+", "gpl_1", "GPL any"),
    "GPL-2.0-only": ("GPL 2", "GPL 2.0", "GPLv2", "GNU GPL 2", "GNU GPL 2.0", "GNU General Public License v2 (GPLv2)")
    + ("GNU General Public License 2", "GNU General Public License v2.0", "gpl_2", "GPL 2 only", "GPLv2 only")
    + ("GNU General Public License v2.0 only", "GNU Public License v2", "http://www.gnu.org/licenses/gpl-2.0.html"),
    "GPL-2.0-or-later": ("GPL 2+", "GPLv2+", "GPL 2.0+", "GNU GPL 2+", "GPL (>= 2)", "GPL (>= 2.0)")
    + ("GNU General Public License v2 or later (GPLv2+)", "GNU General Public License 2+", "GNU GPL v2+"),
    "GPL-2.0-only WITH Classpath-exception-2.0": (
        "GPL 2 with Classpath exception",
        "GPL2 w/ CPE",
        "GPL-2.0-with-classpath-exception",
    )
    + ("GPLv2 with Classpath exception", "GNU General Public License, version 2 with the GNU Classpath Exception"),
    "GPL-2.0-only WITH GCC-exception-2.0": ("GPL-2.0-with-GCC-exception", "GPLv2 with linking exception"),
    "GPL-3.0-only": ("GPL 3", "GPL 3.0", "GPLv3", "GNU GPL 3", "GNU GPL 3.0", "GNU General Public License v3 (GPLv3)")
    + ("GNU General Public License 3", "GNU General Public License v3.0", "gpl_3", "GPL 3 only", "GPLv3 only")
    + ("GNU General Public License v3.0 only", "GNU Public License v3", "http://www.gnu.org/licenses/gpl-3.0.html")
    + (
        "https://www.gnu.org/licenses/gpl-3.0.html",
        "https://www.gnu.org/licenses/gpl-3.0",
        "http://www.gnu.org/licenses/gpl-3.0.txt",
    ),
    "GPL-3.0-or-later": ("GPL 3+", "GPLv3+", "GPL 3.0+", "GNU GPL 3+", "GPL (>= 3)", "GPL (>= 3.0)")
    + ("GNU General Public License v3 or later (GPLv3+)", "GNU General Public License 3+", "GNU GPL v3+"),
    "HPND": ("Historical Permission Notice and Disclaimer", "Historical Permission Notice and Disclaimer (HPND)"),
    "ISC": ("ISC", "ISC License (ISCL)", "ISCL", "Internet Systems Consortium"),
    "JSON": ("The JSON License", "JSON License"),
    "LGPL-2.0-or-later": ("LGPL", "GNU LGPL", "GNU Lesser General Public License", "GNU Library General Public License")
    + ("Lesser GPL", "Lesser General Public License", "GNU Library or Lesser General Public License (LGPL)", "LGPL 2+")
    + (
        "LGPLv2+",
        "GNU Lesser General Public License v2 or later (LGPLv2+)",
        "LGPL (>= 2)",
        "LGPL (>= 2.0)",
        "LGPL+",
        "LGPL any",
    ),
    "LGPL-2.0-only": ("LGPL 2", "LGPL 2.0", "LGPLv2", "GNU Lesser General Public License v2 (LGPLv2)"),
    "LGPL-2.1-only": (
        "LGPL 2.1",
        "LGPLv2.1",
        "GNU LGPL 2.1",
        "lgpl_2_1",
        "GNU Lesser General Public License v2.1",
        "LGPL 2.1 only",
    )
    + ("GNU Lesser General Public License, version 2.1", "http://www.gnu.org/licenses/lgpl-2.1.html"),
    "LGPL-2.1-or-later": ("LGPL 2.1+", "LGPLv2.1+", "LGPL (>= 2.1)", "GNU Lesser General Public License v2.1+"),
    "LGPL-3.0-only": (
        "LGPL 3",
        "LGPL 3.0",
        "LGPLv3",
        "GNU LGPL 3",
        "lgpl_3_0",
        "GNU Lesser General Public License v3 (LGPLv3)",
    )
    + (
        "GNU Lesser General Public License v3",
        "GNU Lesser General Public License v3.0",
        "http://www.gnu.org/licenses/lgpl-3.0.html",
    ),
    "LGPL-3.0-or-later": (
        "LGPL 3+",
        "LGPLv3+",
        "LGPL (>= 3)",
        "GNU Lesser General Public License v3 or later (LGPLv3+)",
    ),
    "LPPL-1.3c": ("LPPL", "LPPL 1.3", "LaTeX Project Public License", "LaTeX Project Public License 1.3"),
    "LicenseRef-scancode-proprietary-license": (
        "Proprietary",
        "UNLICENSED",
        "Other/Proprietary License",
        "Commercial",
        "Closed source",
    )
    + (
        "Private",
        "All rights reserved",
        "Proprietary and confidential",
        "Other/Proprietary",
        "Proprietary software",
        "unlicensed private",
    ),
    "LicenseRef-scancode-public-domain": ("Public Domain", "PD", "In the public domain", "Unlimited", "publicdomain"),
    "MIT": (
        "MIT",
        "MIT/X11",
        "The MIT License (MIT)",
        "MIT/Expat",
        "Expat",
        "Expat License",
        "MIT style",
        "MIT-like",
        "MIT licensed",
        "MITL",
    )
    + (
        "http://opensource.org/licenses/MIT",
        "https://opensource.org/licenses/MIT",
        "http://www.opensource.org/licenses/MIT",
    )
    + ("http://www.opensource.org/licenses/mit-license.php", "http://opensource.org/licenses/mit-license.php")
    + (
        "https://opensource.org/license/mit",
        "https://mit-license.org",
        "MIT Licence",
        "MIT (Expat)",
        "MIT (see LICENSE)",
    ),
    "MIT-0": ("MIT-0", "MIT No Attribution", "MIT No Attribution License (MIT-0)"),
    "MIT-CMU": ("CMU License (MIT-CMU)", "CMU"),
    "MPL-1.0": ("MPL 1.0", "Mozilla Public License 1.0 (MPL)"),
    "MPL-1.1": ("MPL 1.1", "Mozilla Public License 1.1 (MPL 1.1)"),
    "MPL-2.0": (
        "MPL",
        "MPL 2",
        "MPL 2.0",
        "Mozilla",
        "Mozilla Public",
        "Mozilla Public License 2.0 (MPL 2.0)",
        "Mozilla Public License 2",
    )
    + ("http://mozilla.org/MPL/2.0", "https://www.mozilla.org/en-US/MPL/2.0", "https://mozilla.org/MPL/2.0"),
    "MS-PL": ("Microsoft Public License", "Ms-PL"),
    "MulanPSL-2.0": ("Mulan Permissive Software License v2 (MulanPSL-2.0)", "Mulan PSL 2", "Mulan PSL v2"),
    "NCSA": ("University of Illinois/NCSA Open Source License", "UIUC", "NCSA", "University of Illinois NCSA"),
    "OFL-1.1": ("OFL", "SIL OFL 1.1", "SIL Open Font License 1.1 (OFL-1.1)", "SIL Open Font License"),
    "OSL-3.0": ("OSL", "Open Software License 3.0 (OSL-3.0)"),
    "PSF-2.0": (
        "PSF",
        "PSFL",
        "PSF 2",
        "Python Software Foundation",
        "Python Software Foundation License",
        "Python Software Foundation 2.0",
    ),
    "PostgreSQL": ("PostgreSQL",),
    "Python-2.0": ("Python", "Python License (CNRI Python License)", "Python 2"),
    "QPL-1.0": ("QPL", "Qt Public License (QPL)"),
    "Ruby": ("Ruby", "Ruby's"),
    "SSPL-1.0": ("SSPL", "Server Side Public License"),
    "UPL-1.0": ("UPL", "Universal Permissive License", "Universal Permissive License (UPL)"),
    "Unlicense": ("Unlicense", "The Unlicense (Unlicense)", "http://unlicense.org", "https://unlicense.org"),
    "Vim": ("VIM", "Vim License"),
    "W3C": ("W3C",),
    "WTFPL": ("WTFPL", "DWTFYWT", "Do What The F*ck You Want To Public License", "WTFPL 2", "DWTFYW"),
    "X11": ("X11",),
    "ZPL-2.1": ("ZPL", "ZPL 2.1", "Zope Public License"),
    "Zlib": ("zlib", "zlib/libpng", "zlib/libpng License", "zlib-libpng"),
}
"""Licence expression → what else it is called. A family name without a version stands for its commonest or least
version; BSD alone for the three-clause licence, since all of them are permissive."""

DETECTOR_IDS: dict[str, str] = {
    "Aladdin-9": "Aladdin",
    "Anti996": "LicenseRef-scancode-996-icu-1.0",
    "CommonsClause": "LicenseRef-scancode-commons-clause",
    "GFDL-1.1": "GFDL-1.1-only",
    "GFDL-1.2": "GFDL-1.2-only",
    "GFDL-1.3": "GFDL-1.3-only",
    "GPL-2.0-or-3.0": "GPL-2.0-only OR GPL-3.0-only",
    "GooglePatentClause": "LicenseRef-scancode-google-patent-license-golang",
    "GooglePatentsFile": "LicenseRef-scancode-google-patent-license-golang",
    "IJG-short": "IJG",
    "any-OSI-perl-modules": "Artistic-1.0-Perl OR GPL-1.0-or-later",
}
"""Ids that the text classifier reports and no list holds → the expression they stand for."""


def blue_oak_ratings(folder: Path) -> dict[str, str]:
    """Return SPDX id → tier of the Blue Oak Council list."""
    tiers = json.loads((folder / "index.json").read_text("utf-8"))
    return {licence["id"]: tier["name"] for tier in tiers for licence in tier["licenses"]}


def front_matter(path: Path) -> dict[str, Any]:
    """Return the scalar fields and string lists of the YAML head of one licence file."""
    head = path.read_text("utf-8").split("\n---", 1)[0].removeprefix("---")
    fields: dict[str, Any] = {}
    for name, value, items in re.findall(r"^(\w+):[ \t]*(.*)\n((?:[ \t]+- .*\n?)*)", head + "\n", re.MULTILINE):
        fields[name] = [item.strip()[2:].strip() for item in items.splitlines()] if items else value.strip()
    return fields


def scancode_licences(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the fields of every licence ScanCode does not call deprecated and that has an SPDX id, by key."""
    for path in sorted((folder / "licensedcode" / "data" / "licenses").glob("*.LICENSE")):
        fields = front_matter(path)
        if "spdx_license_key" in fields and fields.get("is_deprecated") != "yes":
            yield fields


def entry(fields: dict[str, Any], ratings: dict[str, str]) -> dict[str, Any]:
    """Return what the data file holds for one licence; absent keys are null or false."""
    spdx = fields["spdx_license_key"]
    found = {
        "key": fields["key"],
        "category": fields["category"],
        "name": fields["name"],
        "short_name": fields["short_name"] if fields["short_name"] != fields["name"] else None,
        "former": sorted(fields.get("other_spdx_license_keys", [])),
        "blue_oak": ratings.get(spdx),
        "exception": fields.get("is_exception") == "yes",
    }
    return {name: value for name, value in found.items() if value}


def ratings_by_current_id(ratings: dict[str, str], current: dict[str, str]) -> dict[str, str]:
    """Return the ratings under current SPDX ids: the council's list keeps some that SPDX has renamed."""
    return {current.get(spdx, spdx): tier for spdx, tier in ratings.items()}


def source(name: str, version: str, licence: str, page: str, by: str) -> dict[str, str]:
    """Return one entry of the data file's list of sources."""
    return {"name": name, "version": version, "licence": licence, "page": page, "by": by}


def build(blue_oak: Path, scancode: Path, date: str) -> dict[str, Any]:
    """Return the whole data file."""
    licences = {fields["spdx_license_key"]: fields for fields in scancode_licences(scancode)}
    former = {old: spdx for spdx, fields in licences.items() for old in fields.get("other_spdx_license_keys", [])}
    ratings = ratings_by_current_id(blue_oak_ratings(blue_oak), {k: v for k, v in former.items() if k not in licences})
    missing = {spdx: {"name": spdx, "blue_oak": tier} for spdx, tier in ratings.items() if spdx not in licences}
    version = json.loads((blue_oak / "package.json").read_text("utf-8"))["version"]
    release = next(scancode.glob("licensedcode_data-*.dist-info")).name.split("-")[1].removesuffix(".dist")
    return {
        "date": date,
        "sources": [
            source("@blueoak/list", version, "CC0-1.0", "https://blueoakcouncil.org/list", "Blue Oak Council"),
            source(
                "licensedcode-data",
                release,
                "CC-BY-4.0",
                "https://scancode-licensedb.aboutcode.org",
                "nexB Inc. and others",
            ),
        ],
        "licences": {spdx: entry(fields, ratings) for spdx, fields in sorted(licences.items())} | missing,
        "aliases": {expression: list(names) for expression, names in ALIASES.items()},
        "detector": DETECTOR_IDS,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild the licence data file.")
    parser.add_argument("blue_oak", type=Path, help="unpacked @blueoak/list (the folder with index.json)")
    parser.add_argument("scancode", type=Path, help="unpacked licensedcode-data wheel")
    parser.add_argument("--date", required=True, help="the day the packages were fetched, as YYYY-MM-DD")
    parser.add_argument("--output", type=Path, default=TARGET)
    arguments = parser.parse_args()
    data = build(arguments.blue_oak, arguments.scancode, arguments.date)
    lines = [f"    {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in data["licences"].items()]
    head = json.dumps({k: v for k, v in data.items() if k != "licences"}, ensure_ascii=False, indent=1)
    arguments.output.write_text(head[:-2] + ',\n "licences": {\n' + ",\n".join(lines) + "\n }\n}\n", "utf-8")
    print(f"{len(lines)} licences, {sum('blue_oak' in v for v in data['licences'].values())} rated.")


if __name__ == "__main__":
    main()
