"""Slips that everybody makes: names, files, keys, clocks, and what is not theirs to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from jupyter_aisec.client.home import DEFAULT_BROKER
from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT
from tests.conftest import RunningBroker
from tests.faults.clocks import exported
from tests.faults.person import Met, Person, ok
from tests.faults.table import Row
from tests.faults.test_at_the_broker import started, starts
from tests.faults.test_at_the_log_in import invited
from tests.faults.tls import NAME, tls_in_front_of

AtTerminal = Callable[[RunningBroker, str], Person]


@pytest.fixture
def newcomer(broker: RunningBroker, at_terminal: AtTerminal) -> Callable[[str], Person]:
    """Makes one more researcher, who is no admin."""

    def join(name: str) -> Person:
        person = at_terminal(broker, name)
        ok(person.run("login", "--token", broker.add(name, "researcher")))
        return person

    return join


# -- at the broker


def test_no_encryption(row: Row, researching: Person, tmp_path: Path) -> None:
    """A name that is not known to be this machine's, and is. Either way on."""
    address = researching.broker.url.removeprefix("http://")
    plain = f"http://{address.replace('127.0.0.1', NAME)}"
    with tls_in_front_of(address, tmp_path) as (front, certificate):
        researching.environment |= {"AISEC_BROKER": plain, "REQUESTS_CA_BUNDLE": str(certificate)}
        encrypted, allowed = researching.meets(row, "whoami").commands(BROKER=front)
        researching.type(encrypted)
        assert researching.environment["AISEC_BROKER"] == f"https://{front}"
        ok(researching.run("whoami"))
    researching.environment["AISEC_BROKER"] = plain
    researching.type(allowed)
    ok(researching.run("whoami"))


def test_broker_made_twice(
    row: Row, unstarted: RunningBroker, at_terminal: AtTerminal, tmp_path: Path
) -> None:
    person = at_terminal(unstarted, "researcher")
    key = tmp_path / "researcher.pem"
    key.write_bytes(unstarted.homes["researcher"].key().public.pem())
    init = ("broker", "init", "--admin", f"researcher={key}", "--home", str(unstarted.home))
    met = person.meets(row, *init)
    start = ("broker", "start", "--home", str(unstarted.home), "--listen", "127.0.0.1:0")
    starts(person, start)
    ok(person.run(*met.with_option(FOLDER=str(tmp_path / "another"))))
    with started(person, met.commands(FOLDER="")[0], before=ALONE) as url:
        assert url == DEFAULT_BROKER


# A network with nobody else in it: the port that brokers have by default is free there.
ALONE = ("unshare", "--user", "--map-root-user", "--net", "sh", "-c")
ALONE += ('ip link set lo up && exec "$0" "$@"',)


def test_key_of_nobody(row: Row, researching: Person, tmp_path: Path) -> None:
    key = researching.folder / "admin.pem"
    key.write_text("-----BEGIN PRIVATE KEY-----\n")
    init = ("broker", "init", "--admin", f"admin={key}", "--home", str(tmp_path / "made"))
    met = researching.meets(row, *init)
    owner = Person(researching.broker, "owner", tmp_path)
    key.unlink()
    met.follow(owner)
    ok(researching.run(*init))


def test_policy_not_in_force(
    row: Row, unstarted: RunningBroker, at_terminal: AtTerminal, tmp_path: Path
) -> None:
    person = at_terminal(unstarted, "approver")
    policy = tmp_path / "policy.toml"
    policy.write_text(DEFAULT_POLICY_TEXT.replace('longest = "4h"', 'longest = "1h"'))
    start = ("broker", "start", "--home", str(unstarted.home), "--listen", "127.0.0.1:0")
    met = person.meets(row, *start, "--policy", str(policy))
    unstarted.start()
    person.environment["AISEC_BROKER"] = unstarted.url
    assert "4h" in met.follow(person)


def test_policy_malformed(row: Row, approving: Person, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(DEFAULT_POLICY_TEXT.replace("approvals = 1", "approvals = -1"))
    met = approving.meets(row, "policy", "apply", str(policy), "--yes")
    policy.write_text(DEFAULT_POLICY_TEXT)
    met.follow(approving, FILE=str(policy))
    ok(approving.run("policy", "apply", str(policy), "--yes"))


def test_settings_malformed(
    row: Row, unstarted: RunningBroker, at_terminal: AtTerminal, tmp_path: Path
) -> None:
    person = at_terminal(unstarted, "approver")
    settings = unstarted.home / "config.toml"
    settings.write_text('leases = "2m"\n')
    start = ("broker", "start", "--home", str(unstarted.home), "--listen", "127.0.0.1:0")
    person.meets(row, *start)
    settings.write_text('lease = "2m"\n')
    starts(person, start)


def test_policy_file_missing(row: Row, approving: Person, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    met = approving.meets(row, "policy", "check", str(policy))
    met.follow(approving, FILE=str(policy))
    ok(approving.run("policy", "check", str(policy)))


# -- people and keys


def test_token_cut(row: Row, broker: RunningBroker, at_terminal: AtTerminal) -> None:
    token = broker.add("tina", "researcher")
    person = at_terminal(broker, "tina")
    met = person.meets(row, "login", "--token", token.rpartition(".")[2])
    met.follow(person, TOKEN=token)
    ok(person.run("whoami"))


def test_person_unknown(row: Row, approving: Person, broker: RunningBroker) -> None:
    broker.add("paula", "researcher")
    met = approving.meets(row, "person", "remove", "pavla", "--yes")
    assert "paula" in met.follow(approving)


def test_key_unknown(row: Row, researching: Person) -> None:
    key = researching.broker.homes["researcher"].key().public.key_id
    met = researching.meets(row, "key", "revoke", "sha256:" + "0" * 64, "--yes")
    assert key[:16] in met.follow(researching)


def test_not_an_admin(
    row: Row, approving: Person, newcomer: Callable[[str], Person], broker: RunningBroker
) -> None:
    person = newcomer("nina")
    broker.add("nobody", "researcher")
    met = person.meets(row, "person", "remove", "nobody", "--yes")
    assert "approver" in met.follow(person)
    ok(approving.run("person", "remove", "nobody", "--yes"))


def test_last_admin(row: Row, own_broker: RunningBroker, at_terminal: AtTerminal) -> None:
    person = at_terminal(own_broker, "researcher")
    ok(person.run("login"))
    other = at_terminal(own_broker, "approver")
    ok(other.run("login"))
    left = ok(other.run("person", "remove", "approver", "--yes"))
    assert "researcher would be the only admin" in left.stderr
    assert "researcher is the only admin" in left.stdout
    leave = ("person", "remove", "researcher", "--yes")
    met = person.meets(row, *leave)
    token = met.follow(person, NAME="next").partition("--token ")[2].split()[0]
    successor = at_terminal(own_broker, "next")
    ok(successor.run("login", "--token", token))
    ok(person.run(*leave))


def test_name_given_before(
    row: Row, approving: Person, researching: Person, broker: RunningBroker
) -> None:
    """Whoever signs last is told: until then nothing is sent."""
    broker.add("norma", "researcher")
    file = str(approving.folder.parent / "invitation.json")
    ok(approving.run("person", "add", "norma", "--role", "researcher", "--out", file))
    met = researching.meets(row, "person", "countersign", file, "--yes")
    (add,) = met.commands(NAME="norma-2", ROLE="researcher")
    assert invited(approving, add).startswith("norma-2.")


def test_name_impossible(row: Row, approving: Person, tmp_path: Path) -> None:
    add = ("person", "add", "--role", "researcher", "--out", str(tmp_path / "invitation.json"))
    approving.meets(row, *add, "two words")
    ok(approving.run(*add, "two.words"))


def test_nothing_to_countersign(
    row: Row, approving: Person, researching: Person, tmp_path: Path
) -> None:
    file = str(tmp_path / "invitation.json")
    approving.meets(row, "person", "countersign", file)
    ok(researching.run("person", "add", "zoe", "--role", "researcher", "--out", file))
    ok(approving.run("person", "countersign", file, "--yes"))


def test_file_to_sign_there_already(row: Row, approving: Person, tmp_path: Path) -> None:
    file = tmp_path / "invitation.json"
    add = ("person", "add", "zora", "--role", "researcher", "--out")
    ok(approving.run(*add, str(file)))
    before = file.read_bytes()
    met = approving.meets(row, *add, str(file))
    assert file.read_bytes() == before
    ok(approving.run(*met.with_option(FILE=str(tmp_path / "another.json"))))


def test_home_is_a_file(
    row: Row, broker: RunningBroker, at_terminal: AtTerminal, tmp_path: Path
) -> None:
    person = at_terminal(broker, "frida")
    token = broker.add("frida", "researcher")
    (tmp_path / "file").write_text("")
    person.environment["AISEC_HOME"] = str(tmp_path / "file")
    met = person.meets(row, "whoami")
    met.follow(person, FOLDER=str(tmp_path / "home"))
    ok(person.run("login", "--token", token))


def test_person_removed(
    row: Row, approving: Person, newcomer: Callable[[str], Person], tmp_path: Path
) -> None:
    person = newcomer("rita")
    ok(approving.run("person", "remove", "rita", "--yes"))
    met = person.meets(row, "login")
    (add,) = met.commands(NAME="rita-2", ROLE="researcher")
    token = invited(approving, add)
    person.environment["AISEC_HOME"] = str(tmp_path / "rita-2")
    ok(person.run("login", "--token", token))


def test_signed_already(row: Row, approving: Person, researching: Person, tmp_path: Path) -> None:
    file = str(tmp_path / "invitation.json")
    ok(approving.run("person", "add", "sara", "--role", "researcher", "--out", file))
    met = approving.meets(row, "person", "countersign", file, "--yes")
    assert "in force" in met.follow(researching, FILE=file)


def test_not_to_countersign(
    row: Row, approving: Person, researching: Person, tmp_path: Path
) -> None:
    file = tmp_path / "invitation.json"
    file.write_text("{}")
    sign = ("person", "countersign", str(file), "--yes")
    approving.meets(row, *sign)
    file.unlink()
    ok(researching.run("person", "add", "sina", "--role", "researcher", "--out", str(file)))
    ok(approving.run(*sign))


def test_not_their_role(row: Row, approving: Person, newcomer: Callable[[str], Person]) -> None:
    person = newcomer("rolf")
    shown = person.meets(row, "audit", "verify").follow(person)
    assert re.search(r"^approver .*approver", shown, re.M)
    ok(approving.run("audit", "verify"))


def test_entry_unknown(row: Row, approving: Person) -> None:
    met = approving.meets(row, "audit", "export", "--proof", "999999")
    assert "genesis" in met.follow(approving)
    ok(approving.run("audit", "export", "--proof", "0"))


# -- asking and deciding


def test_approved_unnamed(row: Row, approving: Person, grant: str, artifact: str) -> None:
    again = approving.broker.client("researcher").request([artifact], 3600, "a second one").id
    met = approving.meets(row, "grant", "approve", "--yes")
    assert {grant, again} <= set(met.follow(approving).split())
    ok(approving.run("grant", "approve", grant, "--yes"))


def test_clock_wrong_while_signing(row: Row, approving: Person, grant: str) -> None:
    approve = ("grant", "approve", grant, "--yes")
    approving.meets(row, *approve, before=exported("-1h"))
    ok(approving.run(*approve))


def test_may_not_ask(row: Row, approving: Person, researching: Person, artifact: str) -> None:
    ask = ("grant", "request", artifact, "--for", "1h", "--reason", "r")
    assert "may ask: role:researcher" in approving.meets(row, *ask).follow(approving)
    ok(researching.run(*ask))


# -- sealing


def seal(row: Row, person: Person, name: str, *wrong: str) -> Met:
    """With one wrong option nothing is sealed."""
    source = person.folder.parent / "rows.csv"
    source.write_text("x\n1\n")
    return person.meets(row, "artifact", "seal", str(source), name, *wrong)


def test_label_impossible(row: Row, researching: Person) -> None:
    met = seal(row, researching, "dataset/labelled", "--label", "Top Secret")
    ok(researching.run(*met.instead("--label top-secret")))


def elsewhere(row: Row, person: Person, name: str, to: str) -> None:
    """It is not sealed there; in a folder it is."""
    met = seal(row, person, name, "--to", to)
    ok(person.run(*met.with_option(FOLDER=str(person.folder.parent / "elsewhere"))))


def test_source_missing(row: Row, researching: Person, tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    seal = ("artifact", "seal", str(source), "dataset/source-missing")
    researching.meets(row, *seal)
    source.write_text("x\n1\n")
    ok(researching.run(*seal))


def test_store_elsewhere(row: Row, researching: Person) -> None:
    elsewhere(row, researching, "dataset/elsewhere", "ftp://host/folder")


def test_sealed_from_nowhere(row: Row, researching: Person) -> None:
    elsewhere(row, researching, "dataset/far", "gs://bucket/folder")


def test_store_in_memory(row: Row, researching: Person) -> None:
    elsewhere(row, researching, "dataset/fleeting", "memory://folder")


STRICT = """
mode = "enforce"
pending_for = "24h"
admins_for_policy = 2
sealers = ["person:researcher"]

[[rule]]
name = "datasets"
artifacts = ["dataset/*"]
requesters = ["role:researcher"]
approvers = ["role:approver"]
approvals = 1
longest = "4h"

[[rule]]
name = "nobody"
artifacts = ["dataset/secret"]
deny = true
"""


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """A broker whose policy says no to more."""
    broker = RunningBroker(tmp_path_factory.mktemp("strict"))
    broker.start()
    policy = broker.folder / "strict.toml"
    policy.write_text(STRICT)
    ok(broker.run("policy", "apply", str(policy), "--yes", person="researcher"))
    change = str(policy.with_suffix(".change.json"))
    ok(broker.run("policy", "countersign", change, "--yes", person="approver"))
    for name in ("dataset/open", "dataset/secret", "weights/base"):
        broker.client("researcher").seal(name, {"x.csv": b"x\n"})
    yield broker
    broker.stop()


@pytest.fixture
def asking(strict: RunningBroker, at_terminal: AtTerminal) -> Person:
    return at_terminal(strict, "researcher")


ASKS = ("--for", "1h", "--reason", "r")


def test_no_rule(row: Row, asking: Person) -> None:
    met = asking.meets(row, "grant", "request", "weights/base", *ASKS)
    assert "dataset/*" in met.follow(asking)
    ok(asking.run("grant", "request", "dataset/open", *ASKS))


def test_denied_by_a_rule(row: Row, asking: Person) -> None:
    met = asking.meets(row, "grant", "request", "dataset/open", "dataset/secret", *ASKS)
    assert "denies it to everybody" in met.follow(asking)
    ok(asking.run("grant", "request", "dataset/open", *ASKS))


def test_may_not_seal(
    row: Row, asking: Person, strict: RunningBroker, at_terminal: AtTerminal, tmp_path: Path
) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("x\n1\n")
    ok((person := at_terminal(strict, "approver")).run("login"))
    seal = ("artifact", "seal", str(source), "dataset/new")
    assert "may seal: person:researcher" in person.meets(row, *seal).follow(person)
    ok(asking.run(*seal))


# -- runs and what they made


def test_run_unknown(row: Row, researching: Person) -> None:
    met = researching.meets(row, "run", "show", "run_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    met.follow(researching)


@pytest.fixture
def trust(researching: Person, tmp_path: Path) -> str:
    file = tmp_path / "trust.json"
    file.write_text(ok(researching.run("broker", "trust")).stdout)
    return str(file)


def test_trained_by_no_run(row: Row, researching: Person, artifact: str, trust: str) -> None:
    met = researching.meets(row, "verify", artifact, "--trust", trust)
    met.follow(researching)


def test_folder_missing(row: Row, researching: Person, artifact: str, trust: str) -> None:
    met = researching.meets(row, "verify", "./sealed", "--trust", trust)
    assert artifact in met.follow(researching)


def test_folder_named_like_an_artifact(
    row: Row, researching: Person, artifact: str, trust: str
) -> None:
    (researching.folder / artifact).mkdir(parents=True)
    met = researching.meets(row, "verify", artifact, "--trust", trust)
    verify = ("verify", f"./{met.holes['PATH']}", "--trust", trust, "--json")
    said = msgspec.json.decode(researching.run(*verify).stderr.splitlines()[-1])
    assert said["code"] != row.code
    (researching.folder / artifact).rename(researching.folder / "moved")
    read(researching, artifact, trust)


def test_trust_file_missing(
    row: Row, researching: Person, approving: Person, artifact: str, tmp_path: Path
) -> None:
    file = str(tmp_path / "none.json")
    met = researching.meets(row, "verify", artifact, "--trust", file)
    met.follow(approving, FILE=file)
    read(researching, artifact, file)


def test_trust_file_malformed(
    row: Row, researching: Person, approving: Person, artifact: str, tmp_path: Path
) -> None:
    file = tmp_path / "trust.json"
    file.write_text("{}")
    met = researching.meets(row, "verify", artifact, "--trust", str(file))
    file.write_text(met.follow(approving))
    read(researching, artifact, str(file))


def read(person: Person, artifact: str, trust: str) -> None:
    """The trust file is good: what is said next is about the artifact."""
    done = person.run("verify", artifact, "--trust", trust, "--json")
    assert msgspec.json.decode(done.stderr.splitlines()[-1])["code"] == "bundle-missing"
