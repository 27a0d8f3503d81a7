"""Settings that would not be safe are refused."""

from __future__ import annotations

import pytest

from diptych.core.errors import ConfigError
from diptych.serve.libraries import named
from diptych.serve.settings import ServeSettings, check_token, host_name, is_loopback, new_token, token_bits


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "photos.example", "", "127.0.0.1.example"])
def test_anything_but_loopback_needs_a_token(host) -> None:
    with pytest.raises(ConfigError, match="token"):
        ServeSettings(host=host)
    assert ServeSettings(host=host, token=new_token()).shows_paths is False


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_needs_none(host) -> None:
    assert is_loopback(host)
    assert ServeSettings(host=host).shows_paths is True


@pytest.mark.parametrize(
    "token", ["", "secret", "a" * 64, "0123456789" * 3, "0123456789abcdef" * 1, "x y" * 20, "é" * 40]
)
def test_weak_tokens_are_refused(token) -> None:
    with pytest.raises(ConfigError):
        check_token(token)


@pytest.mark.parametrize("token", ["0123456789abcdef0123456789abcdef", "dQw4w9WgXcQdQw4w9WgXcQ"])
def test_strong_ones_are_taken(token) -> None:
    assert check_token(token) == token


def test_bits_are_those_of_the_alphabet_shown() -> None:
    assert token_bits("0123456789") == pytest.approx(33.2, abs=0.1)
    assert token_bits("0" * 31 + "f") == 128
    assert token_bits(check_token(new_token())) >= 256


@pytest.mark.parametrize(
    ("host", "name"),
    [("localhost:80", "localhost"), ("[::1]:8000", "[::1]"), ("[::1]", "[::1]"), ("A.b", "a.b"), ("", "")],
)
def test_host_names(host, name) -> None:
    assert host_name(host) == name


def test_an_address_on_the_network_answers_to_addresses_but_not_to_names() -> None:
    settings = ServeSettings(host="0.0.0.0", token=new_token(), allowed_hosts=("photos.home",))
    assert settings.host_is_allowed("192.168.1.5:8000")
    assert settings.host_is_allowed("photos.home:8000")
    assert not settings.host_is_allowed("evil.example:8000")


def test_the_token_is_not_in_the_settings_text() -> None:
    token = new_token()
    assert token not in repr(ServeSettings(token=token))


def test_libraries_get_names() -> None:
    found = named(["~/holiday.library", "work=/data/b", "/x/y z.library"])
    assert list(found) == ["holiday", "work", "y-z"]
    with pytest.raises(ConfigError, match="two libraries"):
        named(["/a/x.library", "/b/x"])
    with pytest.raises(ConfigError, match="needs letters"):
        named(["a b=/data"])
