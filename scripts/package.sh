#!/usr/bin/env bash
# Makes Debian packages in build/packages, for the Postgres of PG_CONFIG or PG_MAJOR:
#   postgresql-NN-prometheus-embed          library, control file, install and upgrade scripts, documentation, demo
#   postgresql-NN-prometheus-embed-dbgsym   its debug symbols
#   prometheus-embed-runtime                the ONNX Runtime library, one for all versions of Postgres
#   prometheus-embed-model                  the text model, likewise
#
# The same checkout, tools and place give the same bytes: times are those of the commit (or SOURCE_DATE_EPOCH), owners
# are root. DEBFULLNAME and DEBEMAIL say who packaged it, PKG_REVISION the part of the version after the dash.
. "$(dirname "$0")/lib.sh"

need_setup
for tool in dpkg-deb dpkg-shlibdeps strip; do
    command -v "$tool" >/dev/null || die "$tool is missing" "Run: apt-get install dpkg-dev binutils"
done
pg_config=$(pg_config_path)
major=$(pg_major "$pg_config")
pkglibdir=$("$pg_config" --pkglibdir)
sharedir=$("$pg_config" --sharedir)
[ "$pkglibdir $sharedir" = "/usr/lib/postgresql/$major/lib /usr/share/postgresql/$major" ] ||
    die "$pg_config is not a Postgres of Debian: its library directory is $pkglibdir"
model=all-MiniLM-L6-v2
arch=$(dpkg --print-architecture)
libdir=/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)/prometheus-embed
runtime_licences=$("$PE_PYTHON" -c 'import onnxruntime, pathlib; print(pathlib.Path(onnxruntime.__file__).parent)')

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
export SOURCE_DATE_EPOCH
maintainer="${DEBFULLNAME:-prometheus_embed} <${DEBEMAIL:-prometheus-embed@example.org}>"
revision=${PKG_REVISION:-1}
version=$(sed -nE '0,/^version *= *"(.*)"/s//\1/p' Cargo.toml)-$revision
out=$ROOT/build/packages
work=$ROOT/build/package
umask 022

# put MODE FROM TO...: copies into the tree of the package at hand.
put() { install -D -m "$1" "$2" "$tree$3"; }
put_gz() { mkdir -p "$(dirname "$tree$1")" && gzip -9n >"$tree$1"; }
put_link() { mkdir -p "$(dirname "$tree$2")" && ln -s "$1" "$tree$2"; }

# begin PACKAGE: an empty tree, with what every package has.
begin() {
    package=$1
    tree=$work/$package
    doc=/usr/share/doc/$package
    rm -rf "$tree"
    mkdir -p "$tree/DEBIAN"
}

# copyright NAME [EXTRA...]: packaging/debian/NAME.copyright and, below it, what stdin says.
copyright() {
    mkdir -p "$tree$doc"
    { cat "packaging/debian/$1.copyright" -; } | fill >"$tree$doc/copyright"
}

# Tokens of the templates.
fill() {
    sed -e "s|@MAJOR@|$major|g" -e "s|@VERSION@|$package_version|g" -e "s|@SOURCE_VERSION@|$version|g" \
        -e "s|@ARCH@|$arch|g" -e "s|@MAINTAINER@|$maintainer|g" -e "s|@SIZE@|${size:-0}|g" \
        -e "s|@SHLIBS@|${shlibs:-}|g" -e "s|@RUNTIME@|$runtime_version|g" -e "s|@MODEL@|$model|g" \
        -e "s|@MODEL_SOURCE@|$model_source|g" -e "s|@MODEL_LICENCE@|$model_licence|g" -e "s|@BUILD_ID@|${build_id:-}|g"
}

# The Debian packages whose libraries FILE needs.
shlibs_of() {
    local scratch
    scratch=$(mktemp -d)
    mkdir "$scratch/debian"
    printf 'Source: prometheus-embed\n\nPackage: any\nArchitecture: any\n' >"$scratch/debian/control"
    # Symbols of the server itself are not found in any library, which it would warn of one by one.
    (cd "$scratch" && dpkg-shlibdeps -O --warnings=0 "$1" | sed -n 's/^shlibs:Depends=//p')
    rm -rf "$scratch"
}

# Changelog of the packaging, and what lintian is told not to expect of packages that are not uploaded to Debian.
papers() {
    printf '%s: %s\n' "$package" initial-upload-closes-no-bugs "$package" copyright-without-copyright-notice >"$work/overrides"
    put 644 "$work/overrides" "/usr/share/lintian/overrides/$package"
    printf 'prometheus-embed (%s) unstable; urgency=medium\n\n  * See the changelog of %s.\n\n -- %s  %s\n' \
        "$package_version" "prometheus_embed $version" "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" |
        put_gz "$doc/changelog.Debian.gz"
}

# finish TEMPLATE [DPKG-DEB OPTION...]: control data and sums; then the package.
finish() {
    local template=$1 size
    shift
    size=$(du -k --apparent-size -s --exclude=DEBIAN "$tree" | cut -f1)
    fill <"packaging/debian/$template.control" >"$tree/DEBIAN/control"
    (cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
    chmod -R u+w,go-w "$tree"
    dpkg-deb --root-owner-group "$@" --build "$tree" "$out" >/dev/null
    say "    $(cd "$out" && du -h --apparent-size "$package"_"$package_version"_*.deb)"
}

extension() {
    local file library debug id
    package_version=$version
    begin "postgresql-$major-prometheus-embed"
    library=$tree$pkglibdir/prometheus_embed.so
    put 644 "build/pg$major$pkglibdir/prometheus_embed.so" "$pkglibdir/prometheus_embed.so"
    for file in "build/pg$major$sharedir"/extension/*; do put 644 "$file" "$sharedir/extension/${file##*/}"; done
    # Where the settings look by default; the other packages fill what the links point to.
    put_link "../../../$(basename "$(dirname "$libdir")")/prometheus-embed" "$pkglibdir/prometheus_embed"
    put_link ../../prometheus-embed "$sharedir/prometheus_embed"
    put 644 README.md "$doc/README.md"
    for file in docs/*.md; do put 644 "$file" "$doc/$file"; done
    while IFS= read -r -d '' file; do put 644 "$file" "$doc/examples/$file"; done \
        < <(find demo migrations -type f -print0)
    put_gz "$doc/changelog.gz" <CHANGELOG.md
    "$PE_PYTHON" scripts/package_licences.py "pg$major onnx" | put_gz "$doc/third-party.txt.gz"
    copyright extension <packaging/debian/apache-2.0.txt

    id=$(readelf -n "$library" | sed -nE 's/.*Build ID: //p')
    debug=$(mktemp)
    objcopy --only-keep-debug "$library" "$debug"
    strip --strip-unneeded --remove-section=.comment --remove-section=.note "$library"
    shlibs=$(shlibs_of "$library")
    papers
    finish extension
    if [ -n "$id" ]; then debug_symbols "$debug" "$id"; fi
    rm -f "$debug"
}

debug_symbols() {
    local build_id=$2
    begin "postgresql-$major-prometheus-embed-dbgsym"
    put 644 "$1" "/usr/lib/debug/.build-id/${build_id:0:2}/${build_id:2}.debug"
    put_link "${package%-dbgsym}" "$doc"
    finish dbgsym -Zxz -z1
}

runtime() {
    package_version=$runtime_version-$revision
    begin prometheus-embed-runtime
    put 644 "build/lib/libonnxruntime.so.$runtime_version" "$libdir/libonnxruntime.so.$runtime_version"
    put_gz "$doc/third-party.txt.gz" <"$runtime_licences/ThirdPartyNotices.txt"
    { printf '\nLicense: Expat\n'; sed -e 's/^$/./' -e 's/^/ /' "$runtime_licences/LICENSE"; } | copyright runtime
    shlibs=$(shlibs_of "$tree$libdir/libonnxruntime.so.$runtime_version")
    papers
    finish runtime
}

model() {
    local file kind from=build/share/models/$model to=/usr/share/prometheus-embed
    package_version=$(manifest_says 'str(m["format"]) + "." + str(m["built"]["builder"])')-$revision
    begin prometheus-embed-model
    for file in "$from"/*; do [ "${file##*/}" = manifest.seal ] || put 644 "$file" "$to/models/$model/${file##*/}"; done
    put 755 scripts/seal.sh "$to/seal.sh"
    for kind in postinst prerm; do
        fill <"packaging/debian/model.$kind" >"$tree/DEBIAN/$kind"
        chmod 755 "$tree/DEBIAN/$kind"
    done
    copyright model <packaging/debian/apache-2.0.txt
    papers
    # Weights hardly get smaller, however long one tries.
    finish model -Zgzip -z1
}

manifest_says() { "$PE_PYTHON" -c 'import json, sys; m = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "build/share/models/$model/manifest.json" "$1"; }

check() {
    if command -v lintian >/dev/null; then
        lintian --allow-root --fail-on error,warning "$out"/*.deb
    else
        say "    lintian is not installed: not run"
    fi
}

STEPS=4
step "text model and runtime" scripts/model.sh
step "build" scripts/build.sh
rm -rf "$out" "$work"
mkdir -p "$out" "$work"
runtime_version=$(basename build/lib/libonnxruntime.so.*)
runtime_version=${runtime_version#libonnxruntime.so.}
model_source=$(manifest_says 'm["source"]')
model_licence=$(manifest_says 'm["licence"]')
all() { extension; runtime; model; }
step "packages" all
step "lintian" check
