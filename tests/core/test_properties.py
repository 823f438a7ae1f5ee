from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasctl.adapters.yaml_text import domain_of
from dasctl.core.domain import Domain
from dasctl.core.properties import (
    Context,
    Folder,
    PropertyError,
    Reference,
    Scope,
    quoted,
    scope,
    shell_pieces,
    text_pieces,
)

ID = "7d0f8a52-4c1e-4b7e-9a55-3f1c6f0b2d11"

DOMAIN = f"""\
format: 1
domain: {{name: shop, id: {ID}, properties: {{a: domain, b: domain, c: domain, d: domain, greeting: "hi ${{who}}"}}}}
nodes: {{n1: {{host: web1.example.com}}}}
configs:
  c:
    start: x
    properties: {{b: config, c: config, d: config, who: "${{a}}/${{b}}", home: "${{instance.dir}}/data"}}
clusters: {{web: {{config: c, properties: {{c: cluster, d: cluster}}}}}}
instances:
  web1: {{node: n1, cluster: web, properties: {{d: instance, flag: true, number: 1.5}}}}
  alone: {{node: n1, config: c}}
"""


def domain() -> Domain:
    return domain_of(DOMAIN)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("${a} ${b} ${c} ${d}", "domain config cluster instance"),
        ("${greeting}", "hi domain/config"),
        ("${domain.name} ${domain.id}", f"shop {ID}"),
        ("${node.name} ${node.host}", "n1 web1.example.com"),
        ("${cluster.name} ${config.name} ${instance.name}", "web c web1"),
        ("${node.dir} ${home}", "${node.dir} ${instance.dir}/data"),
        ("$${a} $a $$ { }", "${a} $a $$ { }"),
        ("$$${a}", "$${a}"),
        ("${flag} ${number}", "true 1.5"),
        ("", ""),
    ],
)
def test_what_names_stand_for(template: str, text: str) -> None:
    assert scope(domain(), "web1").text(template) == text


def test_a_stand_alone_instance_has_no_cluster() -> None:
    known = scope(domain(), "alone")
    assert known.text("[${cluster.name}] ${c} ${d}") == "[] config config"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("${grreting}", "no property named 'grreting'; did you mean 'greeting'?"),
        ("${a", "is not closed"),
        ("${a:-b}", "is not the name of a property; write $${a:-b}"),
        ("${}", "is not the name of a property"),
    ],
)
def test_templates_that_cannot_be_resolved(template: str, message: str) -> None:
    with pytest.raises(PropertyError) as caught:
        scope(domain(), "web1").text(template)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("template", "command"),
    [
        ("serve --port ${number} --dir ${home}", 'serve --port 1.5 --dir "$DASCTL_INSTANCE_DIR"/data'),
        ('echo "in ${home}"', 'echo "in ${DASCTL_INSTANCE_DIR}/data"'),
        ("echo 'in ${home}'", "echo 'in '\"$DASCTL_INSTANCE_DIR\"'/data'"),
        ("echo ${greeting}", "echo 'hi domain/config'"),
        ('echo "$(cat ${greeting})"', "echo \"$(cat 'hi domain/config')\""),
        ('echo "$(cat "${greeting}")" ${greeting}', 'echo "$(cat "hi domain/config")" \'hi domain/config\''),
        ("x # don't\necho ${greeting}", "x # don't\necho 'hi domain/config'"),
        ("x#' ${greeting} '", "x#' hi domain/config '"),
        ("echo \\' ${greeting}", "echo \\' 'hi domain/config'"),
        ('echo "\\${a}" $${HOME} $HOME', 'echo "\\${a}" ${HOME} $HOME'),
        ("echo ${cluster.name}", "echo web"),
    ],
)
def test_values_in_commands_are_quoted(template: str, command: str) -> None:
    assert scope(domain(), "web1").command(template) == command


def test_an_empty_value_is_still_a_word() -> None:
    assert scope(domain(), "alone").command("x --cluster ${cluster.name}") == "x --cluster ''"


def test_backquotes_are_refused() -> None:
    with pytest.raises(PropertyError, match="backquotes"):
        scope(domain(), "web1").command("echo `cat ${a}`")
    assert scope(domain(), "web1").command("echo `date` ${a}") == "echo `date` domain"


QUOTES = (Context.BARE, Context.DOUBLE, Context.SINGLE)
PARTS = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.sampled_from([Folder("instance.dir"), Folder("node.dir")]),
)


@settings(deadline=None, max_examples=60)
@given(values=st.lists(st.lists(PARTS, max_size=4).map(tuple), min_size=1, max_size=20))
def test_the_shell_sees_exactly_the_value(values: list[tuple[str | Folder, ...]]) -> None:
    folders = {"instance.dir": "/x y/'i\"$(`\\", "node.dir": "/n*?"}
    wanted, words = b"", []
    for value in values:
        text = "".join(folders[part.name] if isinstance(part, Folder) else part for part in value)
        bare, double, single = (quoted(value, context) for context in QUOTES)
        words += [bare, f'"<{double}>"', f"'<{single}>'", f'"$(printf %s. {bare} )"']
        wanted += b"".join(w.encode() + b"\0" for w in (text, f"<{text}>", f"<{text}>", f"{text}."))
    command = "printf '%s\\0' " + " ".join(words)
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        stdout=subprocess.PIPE,
        env={"DASCTL_INSTANCE_DIR": folders["instance.dir"], "DASCTL_NODE_DIR": folders["node.dir"]},
        check=True,
    )
    assert done.stdout == wanted


HERE = r"""cat <<A; cat <<-'B c' - ; printf '<%s>' ${v} $((1<<2)) # <<B
\\${v}" '${v}'
A
	${v}'"'
	B c
printf '<%s>' ${v}
"""


@pytest.mark.parametrize("value", ["8080", "a b'c\"d $(id) `id` \\ \\\\ $x ${y} ' \"", "#", ""])
def test_here_documents_show_exactly_the_value(value: str) -> None:
    command = Scope(given={}, places={}, built_in={"v": (value,)}).command(HERE)
    done = subprocess.run(["/bin/sh", "-c", command], stdout=subprocess.PIPE, check=True, text=True)
    assert done.stdout == f"""\\{value}" '{value}'\n{value}'"'\n<{value}><4><{value}>"""


@pytest.mark.parametrize(
    ("value", "delimiter", "words"),
    [
        (("a\nb",), "A", "several lines"),
        (("a\nb",), "'A'", "several lines"),
        ((Folder("node.dir"),), "\\A", "only the node"),
    ],
)
def test_what_cannot_stand_in_a_here_document_is_refused(
    value: tuple[str | Folder, ...], delimiter: str, words: str
) -> None:
    known = Scope(given={}, places={}, built_in={"v": value})
    template = f"cat <<{delimiter}\n${{v}}\nA\n"
    with pytest.raises(PropertyError, match=words):
        known.command(template)
    assert [words in error.message for error in known.unknown(template, is_command=True)] == [True]
    assert known.command("cat <<A\n$${v}\nA\n") == "cat <<A\n${v}\nA\n"


@given(st.text(alphabet="ab${}'\"`()\\# \n<-"))
def test_pieces_lose_nothing(template: str) -> None:
    for cut in (text_pieces, shell_pieces):
        try:
            pieces = list(cut(template))
        except PropertyError:
            continue
        whole = "".join(f"${{{p.name}}}" if isinstance(p, Reference) else p for p in pieces)
        # What a comment hides keeps its `$${`; elsewhere one of the two `$` goes.
        assert whole.replace("$", "") == template.replace("$", "")


def test_a_value_that_grows_without_bound_is_a_fault() -> None:
    given = {"p0": "x" * 10, **{f"p{n}": f"${{p{n - 1}}}" * 10 for n in range(1, 12)}}
    known = Scope(given=given, places={name: ("domain", "properties", name) for name in given}, built_in={})
    assert len(known.text("${p3}")) == 10_000
    with pytest.raises(PropertyError, match="a value of more than"):
        known.text("${p11}")
