"""hbeat/_abi.py and hbeat/words.py say what include/hbeat.h says."""
import ctypes
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from support import HEADER, missing

import hbeat
from hbeat import _abi

TEXT = re.sub(r"/\*.*?\*/", "", HEADER.read_text(encoding="utf-8"), flags=re.S)
TYPES = {
    "uint32_t": ctypes.c_uint32, "int32_t": ctypes.c_int32, "uint64_t": ctypes.c_uint64, "size_t": ctypes.c_size_t,
    "hbeat_link": ctypes.c_uint64, "hbeat_listener": ctypes.c_uint64, "hbeat_status": ctypes.c_int32, "void": None,
    "void *": ctypes.c_void_p, "const void *": ctypes.c_void_p, "const char *": ctypes.c_char_p, "char *": ctypes.c_void_p,
    "const struct hbeat_backoff *": ctypes.c_void_p, "const struct hbeat_key *": ctypes.c_void_p, "hbeat_event_callback": ctypes.c_void_p, "hbeat_release_callback": ctypes.c_void_p, "hbeat_log_callback": ctypes.c_void_p,
}
ENUMS = {"state": hbeat.State, "cause": hbeat.Cause, "event_type": hbeat.EventType}
GROUPS = {"STRATEGY": hbeat.Strategy, "IDLE_ON": hbeat.IdleOn, "PROOF": hbeat.Proof, "RESEND": hbeat.Resend, "NO_PROGRESS": hbeat.NoProgress, "RUN": hbeat.Run, "RECONNECT": hbeat.Reconnect,
          "CLOCK": hbeat.Clock, "ON_PANIC": hbeat.OnPanic, "PHASE": hbeat.Phase, "HISTOGRAM": hbeat.Times}
# What a Python program has of its own, or the package needs no function for.
LEFT_OUT = {"hbeat_backoff_default", "hbeat_backoff_delay", "hbeat_backoff_refused", "hbeat_backoff_reserve", "hbeat_policy_preset",
            # The package finds a link's data by the link; hbeat keeps none for it.
            "hbeat_link_set_data",
            "hbeat_state_name", "hbeat_cause_name", "hbeat_event_name", "hbeat_status_name", "hbeat_status_text"}


def fields(struct):
    """(type, name) of each field that the header has."""
    body = re.search(rf"typedef struct {struct} \{{(.*?)\}} {struct};", TEXT, re.S).group(1)
    for line in filter(None, (line.strip() for line in body.split(";"))):
        names = line.split(",")
        kind, first = re.match(r"(.*?[\s*])(\w+(?:\[\w+\])?)$", names[0].strip(), re.S).groups()
        for name in [first, *(name.strip() for name in names[1:])]:
            yield " ".join(kind.split()), name


def argument(text):
    """What ctypes calls the type of an argument of the header."""
    kind = " ".join(re.match(r"(.*[\s*])\w+$", text.strip(), re.S).group(1).replace("struct ", "").split())
    if kind in TYPES:
        return TYPES[kind]
    base = kind.replace("const ", "").rstrip("* ")
    if kind.endswith("**"):
        return ctypes.POINTER(ctypes.c_void_p)
    if base == "hbeat_engine":
        return ctypes.c_void_p
    return ctypes.POINTER(_abi.STRUCTS.get(base) or TYPES[base])


class Header(unittest.TestCase):
    def test_every_function_is_declared_as_in_the_header(self):
        declared = dict(re.findall(r"^[\w ]*?\**\s*\**(hbeat_\w+)\(([^)]*)\);", TEXT, re.M))
        results = {name: " ".join(kind.split()) for kind, name in re.findall(r"^([\w ]+?[\s*]+)(hbeat_\w+)\(", TEXT, re.M)}
        self.assertGreater(len(declared), 40)
        self.assertEqual(set(declared) - LEFT_OUT, set(_abi.FUNCTIONS))
        for name, (result, arguments) in _abi.FUNCTIONS.items():
            with self.subTest(name):
                self.assertIs(result, TYPES[results[name]])
                wanted = [] if declared[name] == "void" else [argument(text) for text in declared[name].split(",")]
                self.assertEqual(arguments, wanted)

    def test_those_that_may_wait_give_up_the_gil_and_no_others(self):
        text = HEADER.read_text(encoding="utf-8")
        may = set()
        for doc, name in re.findall(r"/\*((?:(?!\*/).)*?)\*/\s*(?:const )?[\w]+ \**(hbeat_\w+)\(", text, re.S):
            blocks = re.search(r"Blocks: (.*)", doc)
            if blocks and not blocks.group(1).startswith("no"):
                may.add(name)
        self.assertIn("hbeat_engine_stop", may)
        # It is called with a timeout of 0 only; the descriptor is waited for instead.
        may.discard("hbeat_engine_wait")
        self.assertLessEqual(may, _abi.WAITING)
        # A system call each, and whatever is due.
        self.assertEqual(_abi.WAITING - may, {"hbeat_engine_new", "hbeat_engine_drive"})

    def test_every_struct_has_the_fields_of_the_header(self):
        structs = set(re.findall(r"^typedef struct (hbeat_\w+) \{", TEXT, re.M))
        self.assertEqual(set(_abi.STRUCTS), structs - {"hbeat_backoff"})
        for name, struct in _abi.STRUCTS.items():
            expected = []
            for kind, field in fields(name):
                array = re.match(r"(\w+)\[(\w+)\]", field)
                if array:
                    length = getattr(_abi, array.group(2).replace("HBEAT_", ""))
                    element = ctypes.c_char if kind == "char" else TYPES[kind]
                    expected.append((array.group(1), element * length))
                else:
                    expected.append((field, TYPES[kind]))
            for ours, theirs in zip(struct._fields_, expected):
                self.assertEqual(ours, theirs, f"{name}.{theirs[0]}")
            self.assertEqual(len(struct._fields_), len(expected), name)

    def test_sizes_and_offsets_are_those_of_a_c_compiler(self):
        compiler = shutil.which("cc") or missing("cc is not installed")
        asked = [f'printf("{name} %zu\\n", sizeof({name}));' for name in _abi.STRUCTS]
        asked += [f'printf("{name}.{field} %zu\\n", offsetof({name}, {field}));'
                  for name, struct in _abi.STRUCTS.items() for field, _ in struct._fields_]
        source = '#include <stdio.h>\n#include "hbeat.h"\nint main(void) { ' + "\n".join(asked) + " return 0; }\n"
        with tempfile.TemporaryDirectory() as folder:
            code, output = Path(folder, "abi.c"), Path(folder, "abi")
            code.write_text(source)
            subprocess.run([compiler, f"-I{HEADER.parent}", str(code), "-o", str(output)], check=True)
            lines = subprocess.run([str(output)], check=True, stdout=subprocess.PIPE).stdout.decode().split("\n")
        for name, value in (line.split() for line in lines if line):
            struct, _, field = name.partition(".")
            ours = getattr(_abi.STRUCTS[struct], field).offset if field else ctypes.sizeof(_abi.STRUCTS[struct])
            self.assertEqual(ours, int(value), name)

    def test_constants(self):
        values = {name: int(value.rstrip("u")) for name, value in re.findall(r"^#define HBEAT_(\w+) (\d+u?)$", TEXT, re.M)}
        self.assertEqual((values.pop("VERSION_MAJOR"), values.pop("VERSION_MINOR")), _abi.VERSION)
        for name in ["FOREVER", "UNKNOWN", "NAME_MAX", "FRAME_MAX", "APP_STATE_MAX", "ENDPOINT_MAX", "EVENTS_DEFAULT", "EVENTS_ALL", "CAUSES_MAX", "BELOW_MAX"]:
            self.assertEqual(getattr(_abi, name), values.pop(name), name)
        for group, enum in GROUPS.items():
            named = {name[len(group) + 1:]: value for name, value in values.items() if name.startswith(group + "_")}
            self.assertEqual({member.name: member.value for member in enum}, named, group)
            for name in named:
                values.pop(f"{group}_{name}")
        values.pop("VERSION_PATCH")
        self.assertEqual(set(values), {"LOG_INFO", "LOG_WARNING"}, "constants that the package does not know")

    def test_enums(self):
        for name, enum in ENUMS.items():
            body = re.search(rf"typedef enum hbeat_{name} \{{(.*?)\}}", TEXT, re.S).group(1)
            named = {key: int(value) for key, value in re.findall(r"HBEAT_[A-Z]+?_(\w+) = (\d+)", body)}
            self.assertEqual({member.name: member.value for member in enum}, named, name)
        statuses = {name: int(value) for name, value in re.findall(r"^  HBEAT_((?:ERR_|INFO_|OK)\w*) = (-?\d+)", TEXT, re.M)}
        self.assertEqual({member.name: member.value for member in hbeat.Status}, statuses)


if __name__ == "__main__":
    unittest.main()
