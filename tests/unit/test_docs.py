"""What the documents say about the program and its tests is true."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from breakages import BREAKAGES
from messages import GAP, messages
from qudi.util.instream.stream import StreamStatus, TimeLimits
from qudi.util.instream.stream.settings import BufferOptions

ROOT = Path(__file__).parents[2]
# Those of the site alone are made of directives
SITE_ONLY = ('index.md', 'reference.md')
DECISIONS = sorted((ROOT / 'docs' / 'decisions').glob('0*.md'))
PAGES = [path for path in sorted((ROOT / 'docs').glob('*.md')) if path.name not in SITE_ONLY]
DOCUMENTS = [ROOT / 'README.md', *PAGES, *DECISIONS]
NAMES = [str(path.relative_to(ROOT)).replace('\\', '/') for path in DOCUMENTS]


def text_of(name):
    return (ROOT / name).read_text(encoding='utf-8')


def blocks(name):
    """The code blocks of a document: language and text."""
    return re.findall(r'^```(\w*)\n(.*?)^```$', text_of(name), re.MULTILINE | re.DOTALL)


def prose(name):
    return re.sub(r'^```.*?^```$', '', text_of(name), flags=re.MULTILINE | re.DOTALL)


def headings(name):
    return re.findall(r'^#+ (.*)$', prose(name), re.MULTILINE)


def anchors(name):
    """The links to headings, as GitHub makes them."""
    return {
        re.sub(r'[^\w\- ]', '', heading.strip().lower()).replace(' ', '-')
        for heading in headings(name)
    }


# -------------------------------------------------------------------- tests and breakages


@pytest.mark.parametrize('document', NAMES)
def test_every_test_that_a_document_names_exists(document):
    named = set(re.findall(r'\btest_\w+(?!\w*\.py)\b', text_of(document)))
    sources = [path.read_text(encoding='utf-8') for path in (ROOT / 'tests').rglob('test_*.py')]
    existing = set(re.findall(r'^def (test_\w+)', '\n'.join(sources), re.MULTILINE))
    files = {path.stem for path in (ROOT / 'tests').rglob('test_*.py')}
    assert named <= existing | files, f'{document} names tests that do not exist'


@pytest.mark.parametrize('breakage', BREAKAGES, ids=lambda breakage: breakage.what)
def test_each_breakage_is_of_a_piece_that_exists_and_names_a_test(breakage):
    breakage.found_in(ROOT)
    file, _, test = breakage.test.partition('::')
    source = (ROOT / 'tests' / file).read_text(encoding='utf-8')
    assert f'def {test.partition("[")[0]}(' in source


# -------------------------------------------------------------------- links, commands


@pytest.mark.parametrize('document', [*NAMES, '.github/CONTRIBUTING.md'])
def test_every_link_leads_somewhere(document):
    dead = []
    for link in re.findall(r'\]\(([^)\s]+)\)', re.sub(r'\s+', ' ', prose(document))):
        if link.startswith(('http:', 'https:')):
            continue
        path, _, anchor = link.partition('#')
        target = (ROOT / document).parent / path if path else ROOT / document
        name = str(target.resolve().relative_to(ROOT.resolve())).replace('\\', '/')
        if not target.exists() or (anchor and anchor not in anchors(name)):
            dead.append(link)
    assert not dead, f'{document} has links that lead nowhere: {dead}'


def test_the_links_of_the_readme_work_on_a_package_index():
    """The build gives them the address of the repository, by the rules in pyproject.toml."""
    tomllib = pytest.importorskip('tomllib', reason='since Python 3.11')
    project = tomllib.loads(text_of('pyproject.toml'))
    rules = project['tool']['hatch']['metadata']['hooks']['fancy-pypi-readme']['substitutions']
    text = text_of('README.md')
    for rule in rules:
        text = re.sub(rule['pattern'], rule['replacement'], text)
    links = re.findall(r'\]\(([^)\s]+)\)', text)
    relative = [link for link in links if not link.startswith('https://')]
    assert not relative, f'these lead nowhere on a package index: {relative}'
    home = project['project']['urls']['Homepage']
    places = (
        f'{home}/blob/main/',
        f'{home.replace("github.com", "raw.githubusercontent.com")}/main/',
    )
    for link in links:
        if 'qudi-instream-buffer' in link:
            assert link.startswith(places), f'{link} is not in {home}'
            assert (ROOT / link.split('/main/')[1].split('#')[0]).exists(), link


def test_every_document_is_linked_from_the_readme():
    for page in PAGES:
        name = f'docs/{page.name}'
        assert f']({name})' in text_of('README.md'), f'README.md does not mention {name}'


@pytest.mark.parametrize('path', DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_context_decision_and_consequences_on_half_a_page(path):
    text = path.read_text(encoding='utf-8')
    parts = re.findall(r'^## (.*)$', text, re.MULTILINE)
    assert parts == ['Context', 'Decision', 'Consequences']
    assert len(text.splitlines()) <= 30, f'{path.name} is too long'


@pytest.mark.parametrize('document', NAMES)
def test_the_commands_of_a_document_exist(document):
    for language, block in blocks(document):
        assert language in ('bash', 'python', 'yaml', ''), f'nobody checks {language} blocks'
        if language != 'bash':
            continue
        for script in re.findall(r'(?:python\S*) (\S+\.py)([^&|;\n]*)', block):
            source = text_of(script[0])
            for option in re.findall(r'--[\w-]+', script[1]):
                assert f"'{option}'" in source, f'{script[0]} has no option {option}'
        for name, options in re.findall(r'qudi-instream (\w+)([^&|;\n]*)', block):
            source = text_of('src/qudi/util/instream/command/main.py')
            assert f"'{name}'" in source, f'there is no command {name}'
            for option in re.findall(r'--[\w-]+', options):
                assert f"'{option}'" in source, f'qudi-instream has no option {option}'
        for options in re.findall(r'qudi-instream-demo([^&|;\n]*)', block):
            for option in re.findall(r'--[\w-]+', options):
                assert f"'{option}'" in text_of('src/qudi/util/instream/demo/command.py')


# -------------------------------------------------------------------- what the program says


def test_every_error_message_is_answered_in_the_troubleshooting_page():
    """A heading of that page is the text of a message, or how it begins."""
    answered = [
        heading[1:-1]
        for heading in headings('docs/troubleshooting.md')
        if heading.startswith('`') and heading.endswith('`')
    ]
    assert len(answered) == len(set(answered)) > 30
    told = messages()
    missing = [m for m in told if not any(m.text.startswith(start) for start in answered)]
    assert not missing, (
        'docs/troubleshooting.md needs a heading, and an answer below it, for:\n'
        + '\n'.join(f'### `{message.text}`   ({message.place})' for message in missing)
    )
    outdated = [
        start for start in answered if not any(message.text.startswith(start) for message in told)
    ]
    assert not outdated, 'docs/troubleshooting.md answers what is not said any more:\n' + '\n'.join(
        outdated
    )
    vague = [start for start in answered if len(start.replace(GAP, '')) < 10]
    assert vague == ['qudi quits'] or not vague, f'too short to be found: {vague}'


def test_messages_are_found_wherever_they_are_made(tmp_path):
    (tmp_path / 'module.py').write_text(
        'def check(self, name, size):\n'
        '    if size:\n'
        "        raise ValueError(f'{name} is {size:d}, too large')\n"
        "    text = f'{name} is gone' + self.reason\n"
        '    _log.warning(text)\n'
        "    _log.info('all is well')\n"
        "    self.finish(End, f'it has {size} too many')\n"
        "    later = partial(self.reports.warn, 'it is told later')\n"
        "    told = with_calls(f'{name} has failed', error)\n"
        "    return OSError('not raised here')\n",
        encoding='utf-8',
    )
    assert {message.text for message in messages(tmp_path)} == {
        f'{GAP} is {GAP}, too large',
        f'{GAP} is gone{GAP}',
        f'it has {GAP} too many',
        'it is told later',
        f'{GAP} has failed',
        'not raised here',
    }


# -------------------------------------------------------------------- options, numbers


def test_every_option_is_explained_with_its_default():
    text = text_of('docs/configuration.md')
    for option in fields(BufferOptions):
        if option.name != 'name':
            section = text.split(f'\n### {option.name}\n')[1].split('\n#')[0]
            assert re.search(rf'[Dd]efault\s+`{option.default}`', section), option.name


def test_every_time_limit_is_explained_with_its_default():
    section = text_of('docs/configuration.md').split('### time_limits')[1].split('\n#')[0]
    rows = re.findall(r'^\| `(\w+)` \| ([\d.]+) \|', section, re.MULTILINE)
    assert rows == [(limit.name, str(limit.default)) for limit in fields(TimeLimits)]


def test_every_value_of_the_status_is_explained():
    section = text_of('docs/guide.md').split('## Ask it')[1].split('\n## ')[0]
    for field in fields(StreamStatus):
        assert f'`{field.name}`' in section, f'docs/guide.md does not explain status.{field.name}'


def test_every_option_habit_and_fault_of_the_simulated_device_is_explained():
    page = text_of('docs/simulator.md')
    paths = [ROOT / 'src/qudi/hardware/instream_buffer/simulator.py']
    paths += (ROOT / 'src/qudi/util/instream/simulation').glob('*.py')
    source = '\n'.join(path.read_text(encoding='utf-8') for path in paths)
    options = set(re.findall(r"ConfigOption\(\s*'(\w+)'", source))
    assert options == set(
        re.findall(r'^\| `(\w+)` \|', page.split('## Options')[1].split('##')[0], re.MULTILINE)
    )
    for kind, use in (('Habits', r'_has\(|_habits|habits'), ('Faults', r'_fails\(|_faults|faults')):
        words = set(re.findall(rf"(?:{use.split('|')[0]})'([^']+)'\)", source))
        words |= set(re.findall(rf"'([a-z0-9_ ]+)' (?:not )?in (?:self\._)?{kind.lower()}", source))
        section = page.split(f'## {kind}')[1].split('\n## ')[0]
        explained = set()
        for row in re.findall(r'^\| (`.*?) \|', section, re.MULTILINE):
            explained |= set(re.findall(r'`([^`]+)`', row))
        assert words == explained, kind


def test_the_table_of_buffer_sizes_is_right():
    section = text_of('docs/configuration.md').split('## How large should a buffer be?')[1]
    rows = re.findall(
        r'^\| (\d+) (|k|M)Hz \| (\d+) s \| (\d+) \| ([\d.]+) MB \|$', section, re.MULTILINE
    )
    assert len(rows) >= 5
    for rate, prefix, pause, size, memory in rows:
        needed = int(rate) * {'': 1, 'k': 1000, 'M': 1000000}[prefix] * int(pause)
        assert int(size) == needed
        megabytes = needed * 2 * 8 / 1e6
        assert abs(float(memory) - megabytes) <= 0.05 * megabytes


def test_pictures_are_light_enough_for_git():
    for path in (ROOT / 'docs' / 'images').iterdir():
        assert path.stat().st_size < 80_000, f'{path.name} is too large'
