"""Ways out of a confined process, each tried for real; and what must go on working.

``python ways_out.py MODE FOLDER`` prepares things outside worth reaching, confines itself, tries
every row in a process of its own and prints what came of each as JSON. MODE: ``full`` or
``partial``; with ``:nobody`` the same as an ordinary user. A row of ``WAYS`` that returns is a way
out; one that raises OSError was refused by the operating system.
"""

from __future__ import annotations

import _posixshmem
import ctypes
import encodings.ascii
import encodings.idna
import encodings.latin_1  # noqa: F401 - while the ordinary user of the test still can
import errno
import fcntl
import json
import mmap
import multiprocessing.pool
import multiprocessing.popen_fork
import multiprocessing.queues
import multiprocessing.synchronize
import os
import posix
import pwd
import resource
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from time import monotonic
from typing import Any

from jupyter_aisec.confine import Confinement, Inside, needed, secrets
from jupyter_aisec.confine._syscalls import machine
from jupyter_aisec.confine.clean_start import start_clean
from jupyter_aisec.confine.places import SHARED_MEMORY
from jupyter_aisec.confine.seccomp import REFUSED
from tests.confine import measured

libc = ctypes.CDLL(None, use_errno=True)
WAYS: dict[str, Callable[[dict[str, Any]], object]] = {}
MUST_WORK: dict[str, Callable[[dict[str, Any]], object]] = {}
INHERITED = 50
AARCH64 = machine() == "aarch64"


def way(function: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    WAYS[function.__name__] = function
    return function


def works(function: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    MUST_WORK[function.__name__] = function
    return function


def raw(number: int, *arguments: Any) -> int:
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return int(result)


def named(name: str, *arguments: Any) -> int:
    number = REFUSED[name][AARCH64]
    assert number is not None
    return raw(number, *arguments)


# -- files -------------------------------------------------------------------------------------


@way
def create_a_file(outside):
    open(f"{outside['home']}/new", "w").close()


@way
def create_in_every_folder_of_the_machine(outside):
    for folder, _folders, _files in os.walk("/", topdown=True):
        if folder.count("/") > 2 or folder.startswith(("/proc", "/sys", "/dev/shm", "/tmp")):
            continue
        try:
            descriptor = os.open(f"{folder}/.aisec-test", os.O_CREAT | os.O_WRONLY)
        except OSError:
            continue
        if os.fstat(descriptor).st_dev not in outside["disks"]:
            continue
        os.unlink(f"{folder}/.aisec-test")
        return folder
    raise PermissionError(errno.EACCES, "refused everywhere")


@way
def write_over_a_file(outside):
    open(outside["file"], "r+").write("x")


@way
def append_to_a_file(outside):
    open(outside["file"], "a").write("x")


@way
def truncate_a_file(outside):
    os.truncate(outside["file"], 0)


@way
def open_read_only_and_truncate(outside):
    os.open(outside["file"], os.O_RDONLY | os.O_TRUNC)


@way
def rename_a_file(outside):
    os.rename(outside["file"], outside["file"] + "-plaintext")


@way
def link_a_file(outside):
    os.link(outside["file"], outside["file"] + "-plaintext")


@way
def make_a_symlink(outside):
    os.symlink("plaintext", outside["home"] + "/link")


@way
def remove_a_file(outside):
    os.unlink(outside["file"])


@way
def make_a_folder(outside):
    os.mkdir(outside["home"] + "/plaintext")


@way
def remove_a_folder(outside):
    os.rmdir(outside["home"] + "/empty")


@way
def make_a_fifo(outside):
    os.mkfifo(outside["home"] + "/fifo")


@way
def make_a_device(outside):
    os.mknod("/dev/shm/disk", 0o600 | stat.S_IFBLK, os.makedev(254, 0))


@way
def bind_a_unix_socket_on_disk(outside):
    with socket.socket(socket.AF_UNIX) as any_socket:
        any_socket.bind(outside["home"] + "/plaintext.sock")


@way
def unnamed_file(outside):
    os.write(os.open(outside["home"], os.O_TMPFILE | os.O_WRONLY, 0o600), b"x")


@way
def writable_mmap(outside):
    descriptor = os.open(outside["file"], os.O_RDWR)
    mmap.mmap(descriptor, 1)[0] = 65


@way
def change_a_mode(outside):
    os.chmod(outside["file"], 0o640)


@way
def change_a_mode_by_descriptor(outside):
    os.fchmod(os.open(outside["file"], os.O_RDONLY), 0o640)


@way
def change_an_owner(outside):
    os.chown(outside["file"], os.geteuid(), os.getegid())


@way
def change_a_timestamp(outside):
    os.utime(outside["file"], ns=(0x706C61696E, 0x74657874))


@way
def set_an_extended_attribute(outside):
    os.setxattr(outside["file"], "user.plaintext", b"x")


@way
def set_an_extended_attribute_by_descriptor(outside):
    os.setxattr(os.open(outside["file"], os.O_RDONLY), "user.plaintext", b"x")


@way
def setxattrat(outside):
    value = ctypes.create_string_buffer(b"x")
    arguments = struct.pack("QII", ctypes.addressof(value), 1, 0)
    raw(463, -100, outside["file"].encode(), 0, b"user.plaintext", arguments, 16)


@way
def set_inode_flags(outside):
    descriptor = os.open(outside["file"], os.O_RDONLY)
    fcntl.ioctl(descriptor, 0x40086602, struct.pack("l", 0x40))  # FS_IOC_SETFLAGS, no dump


@way
def write_sysctl(outside):
    with open("/proc/sys/kernel/core_pattern", "r+") as file:
        same = file.read()
        file.seek(0)
        file.write(same)


@way
def write_sysfs(outside):
    with open("/sys/kernel/mm/transparent_hugepage/defrag", "r+") as file:
        file.write(" ")


@way
def read_a_disk_device(outside):
    names = [n for n in os.listdir("/dev") if n.startswith(("sd", "vd", "nvme", "dm-"))]
    if not names:
        raise FileNotFoundError(errno.ENOENT, "no disk")
    open(f"/dev/{names[0]}", "rb").close()


@way
def inherited_descriptor(outside):
    os.write(INHERITED, b"plaintext")


@way
def standard_output_of_the_front_end(outside):
    if os.fstat(1).st_rdev != os.stat("/dev/null").st_rdev:
        return "not null"
    raise OSError(errno.EBADF, "it leads nowhere")


@way
def parent_folder_descriptor_of_another_process(outside):
    os.listdir(f"/proc/{outside['keeper']}/fd")


# -- network -----------------------------------------------------------------------------------


@way
def connect_to_this_machine(outside):
    socket.create_connection(("127.0.0.1", outside["tcp"]), timeout=2).close()


@way
def connect_to_another_machine(outside):
    socket.create_connection(("192.0.2.1", 80), timeout=2).close()


@way
def tcp_fast_open(outside):
    with socket.socket() as any_socket:
        any_socket.sendto(b"plaintext", 0x20000000, ("127.0.0.1", outside["tcp"]))


@way
def tcp_fast_open_by_sendmsg(outside):
    with socket.socket() as any_socket:
        any_socket.sendmsg([b"plaintext"], [], 0x20000000, ("127.0.0.1", outside["tcp"]))


@way
def tcp_fast_open_connect(outside):
    with socket.socket() as any_socket:
        any_socket.setsockopt(socket.IPPROTO_TCP, 30, 1)


@way
def udp_to_another_machine(outside):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        any_socket.sendto(b"plaintext", ("192.0.2.1", 53))


@way
def udp_to_this_machine(outside):
    """A datagram to an address nobody has inside goes nowhere; who hears it is outside."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        any_socket.connect(("127.0.0.1", outside["udp"]))
        any_socket.send(b"plaintext")
        any_socket.settimeout(2)
        any_socket.recv(100)


@way
def udp_with_a_wide_family(outside):
    """A filter that compares 64 bits sees another family; the kernel sees IPv4."""
    descriptor = raw(198 if AARCH64 else 41, 2 | 1 << 32, 2 | 1 << 32, 262 | 1 << 32)
    os.close(descriptor)


@way
def multipath_tcp(outside):
    socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)


@way
def sctp(outside):
    socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)


@way
def raw_socket(outside):
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)


@way
def packet_socket(outside):
    socket.socket(17, socket.SOCK_RAW, 0)


@way
def netlink_audit(outside):
    socket.socket(16, socket.SOCK_RAW, 9)


@way
def netlink_uevent(outside):
    socket.socket(16, socket.SOCK_DGRAM, 15)


@way
def vsock(outside):
    socket.socket(40, socket.SOCK_STREAM, 0)


@way
def kernel_crypto_socket(outside):
    socket.socket(38, socket.SOCK_SEQPACKET, 0)


@way
def unix_socket_in_home(outside):
    with socket.socket(socket.AF_UNIX) as any_socket:
        any_socket.connect(outside["unix_home"])


@way
def unix_socket_in_run(outside):
    with socket.socket(socket.AF_UNIX) as any_socket:
        any_socket.connect(outside["unix_run"])


@way
def unix_socket_in_temp(outside):
    with socket.socket(socket.AF_UNIX) as any_socket:
        any_socket.connect(outside["unix_temp"])


@way
def unix_datagram(outside):
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


@way
def abstract_unix_socket(outside):
    with socket.socket(socket.AF_UNIX) as any_socket:
        any_socket.connect("\0" + outside["abstract"])


# -- other processes ---------------------------------------------------------------------------


@way
def memory_of_another_process(outside):
    open(f"/proc/{outside['keeper']}/mem", "rb").close()


@way
def memory_of_init(outside):
    descriptor = os.open("/proc/1/mem", os.O_RDWR)
    os.pread(descriptor, 1, 0)


@way
def environment_of_init(outside):
    with open("/proc/1/environ", "rb") as file:
        if b"hunter2" not in file.read():
            raise OSError(errno.EACCES, "no secret in it")


@way
def signal_another_process(outside):
    os.kill(outside["keeper"], signal.SIGCONT)


@way
def signal_every_process(outside):
    """Inside, -1 reaches the inside alone; what matters is that the outside lives on."""
    os.kill(outside["victim"], 0)


@way
def ptrace_attach(outside):
    named("ptrace", 16, os.getppid(), 0, 0)


@way
def process_vm_writev(outside):
    named("process_vm_writev", os.getppid(), 0, 0, 0, 0, 0)


@way
def pidfd_getfd(outside):
    named("pidfd_getfd", os.pidfd_open(os.getpid()), 0, 0)


# -- the kernel of the operating system ----------------------------------------------------------


@way
def io_uring(outside):
    raw(425, 1, ctypes.create_string_buffer(120))


@way
def mount_a_filesystem(outside):
    named("mount", b"tmpfs", b"/mnt", b"tmpfs", 0, 0)


@way
def unmount_what_hides(outside):
    named("umount2", b"/run", 2)


@way
def new_mount_api(outside):
    named("fsopen", b"tmpfs", 0)


@way
def make_writable_again(outside):
    named("mount_setattr", -100, b"/", 0x8000, struct.pack("QQQQ", 0, 1, 0, 0), 32)


@way
def chroot(outside):
    os.chroot("/tmp")


@way
def unshare_user(outside):
    named("unshare", 0x10000000)


@way
def clone_with_namespaces(outside):
    raw(220 if AARCH64 else 56, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)


@way
def clone3(outside):
    raw(435, struct.pack("Q" * 8, 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0), 64)


@way
def setns(outside):
    named("setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0)


@way
def keyctl(outside):
    named("keyctl", 0, -3, 0)


@way
def add_key(outside):
    named("add_key", b"user", b"plaintext", b"x", 1, -3)


@way
def bpf(outside):
    named("bpf", 0, ctypes.create_string_buffer(128), 128)


@way
def perf_event_open(outside):
    named("perf_event_open", ctypes.create_string_buffer(128), 0, -1, -1, 0)


@way
def userfaultfd(outside):
    named("userfaultfd", 1)


@way
def load_a_module(outside):
    named("finit_module", 0, b"", 0)


@way
def kexec(outside):
    named("kexec_load", 0, 0, 0, 0)


@way
def open_by_handle(outside):
    named("open_by_handle_at", -100, ctypes.create_string_buffer(64), 0)


@way
def a_call_from_the_future(outside):
    raw(480, 0, 0, 0)


@way
def type_into_the_terminal(outside):
    _controller, terminal = os.openpty()
    fcntl.ioctl(terminal, 0x5412, b"x")


@way
def become_root_by_a_set_user_id_program(outside):
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    if int(status["CapBnd"], 16) and status["NoNewPrivs"] != "1":
        return "possible"
    raise PermissionError(errno.EPERM, "no new privileges")


@way
def raise_the_core_limit(outside):
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
    except ValueError as fault:
        raise PermissionError(errno.EPERM, str(fault)) from fault


# -- secrets -----------------------------------------------------------------------------------


@way
def read_aisec_home(outside):
    open(outside["secret"]).read()


@way
def read_ssh_keys(outside):
    open(f"{outside['home']}/.ssh/id_ed25519").read()


@way
def environment_of_this_process(outside):
    try:
        with open("/proc/self/environ", "rb") as file:
            seen = file.read()
    except OSError:
        seen = b""
    if b"hunter2" not in seen and "hunter2" not in str(os.environ):
        raise OSError(errno.EACCES, "no secret in it")


# -- what must work ----------------------------------------------------------------------------


@works
def write_to_scratch(outside):
    path = os.environ["AISEC_SCRATCH"] + "/a/b"
    os.makedirs(path)
    with open(path + "/plot.png", "wb") as file:
        file.write(b"x" * 1_000_000)
    os.rename(path + "/plot.png", os.environ["AISEC_SCRATCH"] + "/moved.png")
    assert os.path.getsize(os.environ["AISEC_SCRATCH"] + "/moved.png") == 1_000_000


@works
def temporary_files(outside):
    with tempfile.NamedTemporaryFile() as file, tempfile.TemporaryDirectory() as folder:
        file.write(b"x")
        assert os.stat(folder).st_dev not in outside["disks"]


@works
def read_the_working_folder_and_home(outside):
    assert open(outside["file"]).read() == "as it was"
    os.listdir(outside["home"])


@works
def threads(outside):
    seen: list[int] = []
    started = [threading.Thread(target=seen.append, args=(n,)) for n in range(8)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert sorted(seen) == list(range(8))


@works
def subprocesses(outside):
    assert subprocess.run(["/bin/echo", "hello"], capture_output=True).stdout == b"hello\n"


@works
def run_from_anonymous_memory(outside):
    descriptor = os.memfd_create("program")
    with open("/bin/true", "rb") as program:
        os.write(descriptor, program.read())
    child = os.fork()
    if child == 0:
        os.execve(descriptor, ["true"], {})
    assert os.waitpid(child, 0)[1] == 0


@works
def fork_pool(outside):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]


@works
def shared_memory(outside):
    descriptor = _posixshmem.shm_open("/aisec-test", os.O_CREAT | os.O_RDWR, mode=0o600)
    os.ftruncate(descriptor, 100)
    mmap.mmap(descriptor, 100)[0] = 7
    _posixshmem.shm_unlink("/aisec-test")


@works
def a_server_inside(outside):
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            accepted, _address = server.accept()
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"


@works
def unix_sockets_in_temp(outside):
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(folder + "/s")
        server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(folder + "/s")


@works
def unknown_host_fails_quickly(outside):
    start = monotonic()
    try:
        socket.getaddrinfo("example.org", 80)
    except socket.gaierror:
        assert monotonic() - start < 5
    else:
        raise AssertionError("a name was found")


@works
def interfaces(outside):
    assert "lo" in [name for _index, name in socket.if_nameindex()]


@works
def pseudo_terminals(outside):
    controller, terminal = os.openpty()
    os.write(terminal, b"x")
    assert os.read(controller, 1) == b"x"


@works
def name_a_thread(outside):
    with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as file:
        file.write("worker")


@works
def devices(outside):
    assert len(open("/dev/urandom", "rb").read(8)) == 8
    open("/dev/null", "w").write("x")
    assert open("/dev/zero", "rb").read(1) == b"\0"


# -- the runner --------------------------------------------------------------------------------


def outcome(row: Callable[[dict[str, Any]], object], outside: dict[str, Any]) -> dict[str, str]:
    """What came of one row, tried in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            result = {"open": repr(row(outside))}
        except OSError as fault:
            result = {"refused": errno.errorcode.get(fault.errno or 0, str(fault))}
            result["why"] = str(fault)
        except BaseException:
            result = {"broken": traceback.format_exc()}
        os.write(writing, json.dumps(result).encode())
        posix._exit(0)  # os._exit would keep what coverage saw, for every row
    os.close(writing)
    with open(reading, "rb") as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    return json.loads(said) if said else {"killed": str(os.waitstatus_to_exitcode(status))}


def listening(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    if not path.startswith("\0") and os.path.exists(path):
        os.unlink(path)
    made.bind(path)
    made.listen()
    return made


def main() -> None:
    start_clean()
    mode, folder, socket_folder = sys.argv[1:]
    kind, _, person = mode.partition(":")
    home = f"{folder}/home"
    for name in ("", "/.ssh", "/aisec", "/empty"):
        os.makedirs(home + name)
    for name, text in (
        ("file", "as it was"),
        (".ssh/id_ed25519", "key"),
        ("aisec/token", "hunter2"),
    ):
        with open(f"{home}/{name}", "w") as file:
            file.write(text)
    tcp = socket.create_server(("127.0.0.1", 0))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    abstract = f"aisec-test-{os.getpid()}"
    held = [
        listening(path)
        for path in (
            f"{home}/s",
            f"{socket_folder}/r",
            f"{folder}/t",
            "\0" + abstract,
        )
    ]
    for path in (home, f"{home}/s", f"{socket_folder}/r", f"{folder}/t", socket_folder):
        os.chmod(path, 0o777)
    if person and os.geteuid() == 0:
        nobody = pwd.getpwnam(person)
        for base, folders, files in os.walk(folder):
            for name in (base, *(os.path.join(base, each) for each in (*folders, *files))):
                os.chown(name, nobody.pw_uid, nobody.pw_gid)
        os.setgroups([])
        os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
        os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)
        libc.prctl(4, 1, 0, 0, 0)  # dumpable, as a program nobody started would be
    victim = subprocess.Popen(["sleep", "300"], stdout=subprocess.DEVNULL)
    os.chdir(home)
    os.dup2(os.open(f"{folder}/log", os.O_CREAT | os.O_WRONLY, 0o600), INHERITED)
    os.set_inheritable(INHERITED, True)
    os.environ["HOME"] = home
    os.environ["AISEC_HOME"] = f"{home}/aisec"
    outside = {
        "home": home,
        "file": f"{home}/file",
        "secret": f"{home}/aisec/token",
        "disks": [os.stat(path).st_dev for path in ("/", home)],
        "tcp": tcp.getsockname()[1],
        "udp": udp.getsockname()[1],
        "abstract": abstract,
        "unix_home": f"{home}/s",
        "unix_run": f"{socket_folder}/r",
        "unix_temp": f"{folder}/t",
        "keeper": os.getpid(),
        "victim": victim.pid,
    }

    def inside(given: Inside) -> int:
        results: dict[str, Any] = {
            "ways": {name: outcome(row, outside) for name, row in WAYS.items()},
            "must work": {name: outcome(row, outside) for name, row in MUST_WORK.items()},
        }
        with socket.create_connection(("127.0.0.1", given.relay_port)) as relay:
            relay.sendall(json.dumps(results).encode())
        return 5

    # Without a mount namespace the folder in memory has no name that is known before.
    kept = f"{SHARED_MEMORY}/.aisec" if kind == "full" else tempfile.mkdtemp(dir=SHARED_MEMORY)
    if not person:  # who may not write where coverage does
        measured.keep_in(kept)
    confined = Confinement(
        hide=secrets(os.environ), keep=(*needed(), home), try_namespaces=kind == "full"
    ).start(inside)
    confined.listener.settimeout(60)
    try:
        accepted, _address = confined.listener.accept()
    except TimeoutError:
        confined.kill()
        raise RuntimeError(f"nothing came: {confined.wait()} {confined.why()}") from None
    with accepted, accepted.makefile("rb") as answer:
        results = json.loads(answer.read())
    results |= {
        "level": confined.level.name,
        "missing": confined.level.missing,
        "exit": confined.wait(),
        "why": confined.why(),
        "victim lives": victim.poll() is None,
        "log": os.fstat(INHERITED).st_size,
        "heard": heard(udp),
        "tree": {
            name: [os.stat(f"{home}/{name}").st_mode, os.stat(f"{home}/{name}").st_size]
            for name in sorted(os.listdir(home))
        },
        "text": open(f"{home}/file").read(),
    }
    if not person:
        measured.collect(f"/proc/self/fd/{confined.memory}" if kind == "full" else kept)
    if kind == "partial":
        shutil.rmtree(kept)
    confined.close()
    victim.kill()
    victim.wait()
    for each in held:
        each.close()
    print(json.dumps(results))


def heard(udp: socket.socket) -> str:
    udp.setblocking(False)
    try:
        return udp.recv(100).decode()
    except BlockingIOError:
        return ""


if __name__ == "__main__":
    main()
