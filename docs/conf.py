"""The documentation as a site.

python -m sphinx -W --keep-going docs build/site
"""

import importlib.metadata

project = 'qudi-instream-buffer'
author = 'The qudi-instream-buffer developers'
project_copyright = author
release = importlib.metadata.version(project)
version = release.partition('+')[0]

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.viewcode']
exclude_patterns = ['licences']

myst_heading_anchors = 4
myst_enable_extensions = ['colon_fence']

autodoc_member_order = 'bysource'
autodoc_typehints_format = 'short'
autodoc_class_signature = 'separated'  # qudi makes the modules, and calls these:
autodoc_default_options = {
    'exclude-members': '__init__, __new__, on_activate, on_deactivate, connect_modules'
}
napoleon_google_docstring = False
napoleon_use_rtype = False

html_theme = 'furo'
html_title = f'{project} {version}'
html_show_copyright = False


def link_to_the_first_page(app, document, source):
    """README.md is the first page here."""
    source[0] = source[0].replace('](../README.md', '](index.md')


def show_examples_as_they_stand(app, what, name, thing, options, lines):
    """A docstring of qudi ends in an example, which is a block to copy."""
    if 'Example config for copy-paste:' in lines:
        start = lines.index('Example config for copy-paste:')
        lines[start:] = [lines[start] + ':', *('    ' + line for line in lines[start + 1 :])]


def setup(app):
    app.connect('source-read', link_to_the_first_page)
    app.connect('autodoc-process-docstring', show_examples_as_they_stand)
