"""What fits warn of: kept apart for each thread, and the process's warnings left as they were."""

import threading
import warnings

import pytest

from nonparam.forecasting.remarks import remarks


def say(text: str, kind: type[Warning] = UserWarning) -> None:
    warnings.warn(text, kind, stacklevel=2)


def test_every_thread_hears_its_own():
    heard, together = {}, threading.Barrier(3)

    def listen(name: str) -> None:
        together.wait(10)
        with remarks() as texts:
            for _ in range(50):
                say(f"{name} speaks")
            together.wait(10)
        heard[name] = texts

    before = warnings.showwarning, list(warnings.filters)
    threads = [threading.Thread(target=listen, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert heard == {name: [f"{name} speaks"] * 50 for name in "abc"}
    assert (warnings.showwarning, list(warnings.filters)) == before


def test_other_kinds_go_their_way():
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        with remarks() as texts:
            say("mine")
            say("not mine", RuntimeWarning)
    assert texts == ["mine"] and [str(other.message) for other in others] == ["not mine"]
    with pytest.raises(RuntimeWarning, match="an error stays one"), remarks():
        say("an error stays one", RuntimeWarning)


def test_warnings_are_as_before_after_an_error():
    before = warnings.showwarning, list(warnings.filters)
    with pytest.raises(ZeroDivisionError), remarks():
        raise ZeroDivisionError
    assert (warnings.showwarning, list(warnings.filters)) == before
    with pytest.warns(UserWarning, match="heard by others"):
        say("heard by others")
