"""What Qt and the operating system print about a process that treats its objects badly."""

__all__ = ['assert_clean']

_BAD_WORDS = ('QThread', 'QObject', 'QTimer', 'Destroyed', 'Segmentation', 'Aborted')
# PySide6 6.10 prints this when an icon is made without a screen, for qudi alone as well
_OF_QT_ITSELF = 'No such signal QPlatformNativeInterface::systemTrayWindowChanged'


def assert_clean(text, *bad_words):
    """See that a process has printed none of their complaints, and none of these words."""
    lines = [line for line in text.splitlines() if _OF_QT_ITSELF not in line]
    for word in (*_BAD_WORDS, *bad_words):
        assert not any(word in line for line in lines), text
