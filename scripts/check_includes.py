#!/usr/bin/env python3
"""Checks the walls between the rooms from the #include lines.

lib/CMakeLists.txt names every room and the rooms below it (`eps_room(NAME [FOLDER f] [NEEDS o] DEPS ...)`); a file may include
its own room and what lies below. Some foreign headers belong to single places, and heavy ones stay out of our headers.
Prints one line per offence and exits with 1 when there is one.
"""
import argparse
import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
ROOM = re.compile(r"^eps_room\((\w+)([^)]*)\)", re.MULTILINE)
SUFFIXES = (".hpp", ".cpp", ".cu", ".cuh")
GENERATED = {"eps_version.hpp": "app/"}

# Foreign headers, and the only files that may include them (paths from the repository's root).
OWNERS = [
    (r"mpi\.h", r"lib/comm/|app/main\.cpp|tests/mpi_main\.cpp|tests/.*/mpi_\w+\.cpp|tests/app/\w+_main\.cpp"),
    (r"(oneapi/dnnl/)?dnnl\w*\.h(pp)?", r"lib/kernels/"),
    (r"omp\.h", r"lib/kernels/"),
    (r"CLI/.*", r"app/\w+\.cpp"),
    (r"nlohmann/json\.hpp", r".*\.cpp"),
    (r"nccl\w*\.h", r"lib/comm/cuda/"),
    (r"(cuda|cublas|cudnn)\w*\.h|cub/.*|nvml\.h|nvtx3/.*", r"(lib|tests)/(kernels|comm|backend)/cuda/"),
    (r"cutlass/.*|cute/.*", r"lib/kernels/cuda/\w+\.cu"),
    (r"catch2/.*", r"tests/catch"),
]


def read_rooms(root):
    """{room: folder under lib/}, {room: all rooms it may see}; and what is wrong with the list itself."""
    folders, sees, offences = {}, {}, []
    for name, rest in ROOM.findall((root / "lib/CMakeLists.txt").read_text()):
        words, key = {"FOLDER": [name], "NEEDS": [], "DEPS": [], "LIBRARIES": []}, None
        for word in rest.split():
            if word in words:
                key, words[word] = word, []
            else:
                words[key].append(word)
        folders[name] = words["FOLDER"][0]
        sees[name] = {name}
        for dep in words["DEPS"]:
            if dep not in sees:
                offences.append(f"lib/CMakeLists.txt: {name} names {dep}, which is not a room above it in the list")
            sees[name] |= sees.get(dep, set())
    return folders, sees, offences


def room_of(path, folders):
    """The room of 'backend/cpu/x.hpp': that of the file's own folder."""
    folder = str(pathlib.PurePosixPath(path).parent)
    return next((room for room, home in folders.items() if home == folder), None)


def check_file(root, path, folders, sees):
    name = path.relative_to(root).as_posix()
    text = path.read_text()
    if name.endswith((".hpp", ".cuh")):
        if not text.startswith("//"):
            yield f"{name}: its first line does not say what the file is for"
        if "#pragma once" not in text:
            yield f"{name}: no #pragma once"
    own_room = room_of(name.removeprefix("lib/"), folders) if name.startswith("lib/") else None
    if name.startswith("lib/") and own_room is None:
        yield f"{name}: its folder is no room of lib/CMakeLists.txt"
        return
    for bracket, header in INCLUDE.findall(text):
        for pattern, owner in OWNERS:
            if re.fullmatch(pattern, header) and not re.match(owner, name):
                yield f"{name}: <{header}> may be included only by {owner}"
        if bracket == "<":
            continue
        if header in GENERATED:
            if not name.startswith((GENERATED[header], "tests/app/")):
                yield f'{name}: "{header}" belongs to {GENERATED[header]}'
        elif header.startswith(("app/", "tests/")):
            if name.startswith("lib/") or (header.startswith("tests/") and not name.startswith("tests/")):
                yield f'{name}: may not see "{header}"'
            elif not (root / header).is_file():
                yield f'{name}: no such file "{header}"'
        else:
            room = room_of(header, folders)
            if room is None or not (root / "lib" / header).is_file():
                yield f'{name}: no such file "lib/{header}"'
            elif own_room and room not in sees[own_room]:
                yield f'{name}: room {own_room} may not see room {room} ("{header}")'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    root = parser.parse_args().root.resolve()
    folders, sees, offences = read_rooms(root)
    files = sorted(p for top in ("lib", "app", "tests") for p in (root / top).rglob("*") if p.suffix in SUFFIXES)
    if not folders or not files:
        sys.exit("check_includes: no rooms or no files: nothing was checked")
    for path in files:
        offences.extend(check_file(root, path, folders, sees))
    for offence in offences:
        print(offence)
    print(f"check_includes: {len(files)} files, {len(folders)} rooms, {len(offences)} offences")
    sys.exit(1 if offences else 0)


if __name__ == "__main__":
    main()
