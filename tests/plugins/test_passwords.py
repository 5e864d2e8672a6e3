"""Hash forms of passwords: known hashes of other projects, what is refused at load, and that nothing else matches."""

import sys
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.plugins.auth.basic import passwords
from aigw_middleware.plugins.auth.basic.passwords import (
    MAX_BCRYPT_BYTES,
    missing_packages,
    password_hash,
    plain_password,
    read_hash,
)
from aigw_middleware.plugins.auth.basic.unix_crypt import MAX_ROUNDS, read_unix_hash

TABLE = "t\u00e1\u0411\u2113\u0259"  # letters that are no latin-1

# RFC 7914, section 12, and the scrypt paper's appendix B, written in the PHC form; those of passlib's tests.
SCRYPT = [
    ("", "$scrypt$ln=4,r=1,p=1$$d9ZXYjhleyA7GcpCwYoEl/FrSETjB0ro39/6P+3iFEI"),
    ("password", "$scrypt$ln=10,r=8,p=16$TmFDbA$/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWI"),
    ("pleaseletmein", "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofI"),
    ("test", "$scrypt$ln=8,r=8,p=1$wlhLyXmP8b53bm1NKYVQqg$mTpvG8lzuuDk+DWz8HZIB6Vum6erDuUm0As5yU+VxWA"),
    ("password", "$scrypt$ln=8,r=2,p=1$dO6d0xoDoLT2PofQGoNQag$g/Wf2A0vhHhaJM+addK61QPBthSmYB6uVTtQzh8CM3o"),
    (TABLE, "$scrypt$ln=7,r=8,p=1$jjGmtDamdA4BQAjBeA9BSA$OiWRHhQtpDx7M/793x6UXK14AD512jg/qNm/hkWZG4M"),
    ("nacl", "$scrypt$ln=1,r=4,p=2$yhnD+J+Tci4lZCwFgHCuVQ$fAsEWmxSHuC0cHKMwKVFPzrQukgvK09Sj+NueTSxKds"),
    ("secret", "$scrypt$ln=10,p=1,r=8$6DKLnvUYEeXWh3JNOd3iwg==$kSrhdHaRbZ7R74q3lGBqO1xetgxRxhmWzYJ2Qvfm7JM="),  # dnsdist
]  # fmt: skip
# The reference implementation's src/test.c.
ARGON2 = [
    ("password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"),
    ("password", "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"),
    ("password", "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8"),
    ("password", "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY"),
]
# Openwall's and py-bcrypt's, as in passlib's tests; the last is of Apache's manual.
BCRYPT = [
    ("U*U*U*U*", "$2a$05$c92SVSfjeiCD6F2nAD6y0uBpJDjdRkt0EgeC4/31Rf2LUZbDRDE.O"),
    ("", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy"),
    (b"\xff\xa3345", "$2a$05$/OK.fbVrR/bpIqNJ5ianF.nRht2l/HRhr6zmCp9vYUvvsqynflf9e"),
    (b"\xa3", "$2y$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq"),
    (b"\xaa\x55" * 36, "$2a$05$/OK.fbVrR/bpIqNJ5ianF.R9xrDjiycxMbQE2bp.vgqlYpW5wx2yy"),  # 72 bytes
    (TABLE, "$2a$04$uM6csdM8R9SXTex/gbTayezuvzFEufYGd2uB6of7qScLjQ4GwcD4G"),
    ("myPassword", "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC"),
]
MD5_CRYPT = [
    ("myPassword", "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/"),
    ("myPassword", "$apr1$qHDFfhPC$nITSVHgYbDAK1Y0acGRnY0"),
    ("myPassword", "$apr1$EXfBN1bF$nuywSFTnPTcqbH5z4x6IG/"),
    (TABLE, "$apr1$bzYrOHUx$a1FcpXuQDJV3vPY20CS6N1"),
    ("", "$1$dOHYPKoP$tnxS1T8Q6VVn3kpV8cN6o."),
    ("4lpHa N|_|M3r1K W/ Cur5Es: #$%(*)(*%#", "$1$jQS7o98J$V6iTcr71CGgwW2laf17pi1"),
    (TABLE, "$1$d6/Ky1lU$/xpf8m7ftmWLF.TjHCqel0"),
]
SHA_CRYPT = [
    ("U*U*U*U*", "$5$LKO/Ute40T3FNF95$U0prpBQd4PloSGU0pnpM4z9wKn4vZ1.jsrzQfPqxph9"),
    ("*U*U*U*U", "$5$9mx1HkCz7G1xho50$O7V7YgleJKLUhcfk9pgzdh3RapEaWqMtEp9UUBAKIPA"),
    ("", "$5$kc7lRD1fpYg0g.IP$d7CMTcEqJyTXyeq8hTdu/jB/I6DGkoo62NXbHIR7S43"),
    ("with unic\u00d6de", "$5$rounds=1000$IbG0EuGQXw5EkMdP$LQ5AfPf13KufFsKtmazqnzSGZ4pxtUNw3woQ.ELRDF4"),
    ("test", "$5$rounds=11858$WH1ABM5sKhxbkgCK$aTQsjPkz0rBsH3lQlJxw9HDTDXPKBxC0LlVeV69P.t1"),
    ("U*U***U", "$6$LKO/Ute40T3FNF95$wK80cNqkiAUzFuVGxW6eFe8J.fSVI65MD5yEm8EjYMaJuDrhwe5XXpHDJpwF/kY.afsUs1LlgQAaOapVNbggZ1"),
    ("", "$6$ojWH1AiTee9x1peC$QVEnTvRVlPRhcLQCk/HnHaZmlGAAjCfrAN0FtOsOnUk5K5Bn/9eLHHiRzrTzaIKjW9NTLNIBUCtNVOowWS2mN."),
    (
        "4lpHa N|_|M3r1K W/ Cur5Es: #$%(*)(*%#",
        "$6$rounds=11065$5KXQoE1bztkY5IZr$Jf6krQSUKKOlKca4hSW07MSerFFzVIZt/N3rOTsUgKqp7cUdHrwV8MoIVNCk9q9WL3ZRMsdbwNXpVk0gVxKtz1",
    ),
]  # fmt: skip
SHA1 = [
    ("myPassword", "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE="),
    ("myPassword", "{SSHA}98JUfJee5Wb13m5683sLku40P3Y2VjNX"),
    ("helloworld", "{SHA}at+xg6SiyUovktq1redipHiJpaE="),
    (TABLE, "{SSHA}3yCSD1nLZXznra4N8XzZgAL+s1sQYsx5"),
    ("test", "{SSHA}/ZMF5KymNM+uEOjW+9STKlfCFj51bg3BmBNCiPHeW2ttbU0="),
]
ALL = [*SCRYPT, *ARGON2, *BCRYPT, *MD5_CRYPT, *SHA_CRYPT, *SHA1]


def of(password: str | bytes) -> bytes:
    return password if isinstance(password, bytes) else password.encode()


@pytest.mark.parametrize(("password", "text"), ALL)
def test_known_hashes(password: str | bytes, text: str) -> None:
    made = read_hash(text)
    assert made is not None
    right = of(password)
    assert made.matches(right)
    for wrong in (right + b"x", right[:-1] + b"\x01", b"x" + right, text.encode(), right.swapcase() + b"."):
        assert not made.matches(wrong)


@pytest.mark.parametrize(
    ("texts", "weakness"),
    [
        (SCRYPT, ""),
        (ARGON2, ""),
        (SHA_CRYPT, ""),
        (BCRYPT, "bcrypt hashes of a cost below 10"),
        (MD5_CRYPT[:3], "$apr1$ hashes (MD5-crypt)"),
        (SHA1[:1], "{SHA} hashes (SHA-1)"),
    ],
)
def test_weak_forms_are_known_as_such(texts: list[tuple[str, str]], weakness: str) -> None:
    for _, text in texts:
        made = read_hash(text)
        assert made is not None
        assert made.weakness == weakness
        assert made.fast is ("SHA-1" in weakness)


def test_a_bcrypt_hash_of_a_usual_cost_is_not_weak() -> None:
    made = read_hash("$2b$12$" + "." * 22 + "a" * 31)
    assert made is not None
    assert (made.weakness, made.module) == ("", "bcrypt")


def test_bcrypt_does_not_let_in_who_knows_the_beginning() -> None:
    password, text = BCRYPT[4]
    made = read_hash(text)
    assert made is not None
    assert len(of(password)) == MAX_BCRYPT_BYTES
    assert made.matches(of(password))
    assert not made.matches(of(password) + b"!")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "$scrypt$ln=10,r=1$wvif8/4fg1Cq9V7L2dv73w$bJcLia1lyfQ1X2x0xflehwVXPzWIUQWWdnlGwfVzBeQ",
            "the parameters ln, r",
        ),
        ("$scrypt$ln=0,r=1,p=1$wvif8/4fg1Cq9V7L2dv73w$bJcLia1lyfQ1X2x0xflehwVXPzWIUQWWdnlGwfVzBeQ", "at most 1024 MiB"),
        ("$scrypt$ln=10,r=a,p=1$wvif8/4fg1Cq9V7L2dv73w$bJcLia1lyfQ1X2x0xflehwVXPzWIUQWWdnlGwfVzBeQ", "ln, r and p"),
        ("$scrypt$ln=10,r=134217728,p=8$wvif8$bJcLia1lyfQ1X2x0xflehwVXPzWIUQWWdnlGwfVzBeQ", "at most 1024 MiB"),
        ("$scrypt$ln=20,r=9,p=1$wvif8/4f$bJcLia1lyfQ1X2x0xflehwVXPzWIUQWWdnlGwfVzBeQ", "at most 1024 MiB"),
        ("$scrypt$ln=10,r=8,p=1$wvif8$bJcLia1lyfQ1X2x0xflehwVXPzWIUQWWdnlGwfVzBeQ", "is not base64"),
        ("$scrypt$ln=10,r=8,p=1$wvif8/4f$", "should read ln="),
        ("$argon2id$v=19$m=7,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "8 KiB for each lane"),
        ("$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi", "at most 2 GiB"),
        ("$argon2id$v=19$m=256,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "should read v=19"),
        ("$argon2id$v=19$m=256,t=2,p=1$LdkhVNG/wlqQnG2ibpyNiA", "should read v=19"),
        ("$argon2x$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65", "no form of hash that is known"),
        ("$2a$12$EXRkfkdmXn!gzds2SSitu.MW9.gAVqa9eLS1//RYtYCmB1eLHg.9q", "53 characters"),
        ("$2a$6$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.", "from 04 to 31"),
        ("$2a$03$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.", "from 04 to 31"),
        ("$2x$12$EXRkfkdmXnagzds2SSitu.MW9.gAVqa9eLS1//RYtYCmB1eLHg.9q", "no form of hash that is known"),
        ("$apr1$r31.....$HqJZimcKQFAMYayBlzkrA!", "is cut off"),
        ("$apr1$r31.....$HqJZimcKQFAMYayBlzkrA", "is cut off"),
        ("$1$longer-salt$HqJZimcKQFAMYayBlzkrA/", "is cut off"),
        ("$5$salt$" + "." * 86, "is cut off"),
        (f"$5$rounds={MAX_ROUNDS + 1}$salt${'.' * 43}", "at most 500000 rounds"),
        ("{SSHA}P90+qijSp8MJ1tN25j5o1PflUvlqjXHOGeOck", "is not base64"),
        ("{SSHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=", "base64 of 20 bytes"),
        ("{SHA}98JUfJee5Wb13m5683sLku40P3Y2VjNX", "base64 of 20 bytes"),
        ("{MD5}X03MO1qnZdYdgyfeuILPmQ==", "no form of hash that is known"),
        ("{PLAIN}", "the password is empty"),
    ],
)
def test_broken_hashes_are_refused_and_not_shown(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_hash(text)
    assert text[10:] not in str(caught.value) or text == "{PLAIN}"


@pytest.mark.parametrize("text", ["", "password", "pa$$word", "$", "$cret", "{curly", "$UPPER$case", "a$2b$12$b"])
def test_what_is_in_no_form_is_a_plain_password(text: str) -> None:
    assert read_hash(text) is None


def test_rounds_below_the_least_are_the_least() -> None:
    assert read_unix_hash("$5$rounds=10$roundstoolow$" + "." * 43).rounds == 1_000
    assert read_unix_hash("$5$salt$" + "." * 43).rounds == 5_000


def test_a_plain_password_is_not_kept_and_its_hash_is_no_password() -> None:
    made = plain_password("correct horse")
    assert made.matches(b"correct horse")
    assert not made.matches(made._text.encode())
    assert not made.matches(bytes.fromhex(made._text))
    assert "horse" not in repr(made) + repr(made._text) + repr(made._check)
    assert read_hash("{PLAIN}correct horse") == made
    assert plain_password("correct horse") is made  # a rule or a reload brings it again
    assert plain_password("correct hors") != made
    assert all(b"correct" not in name for name in passwords._known)


def test_more_plain_passwords_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "MAX_KNOWN", 0)
    first, second = plain_password("not seen yet"), plain_password("not seen yet")
    assert first is not second
    assert first == second
    assert hash(first) == hash(second)
    assert len({first, second, plain_password("another")}) == 2


def test_a_hash_for_a_file_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "COST", 4)
    text = password_hash("pa\u0308ss:word")  # written with a combining mark
    assert text.startswith("$scrypt$ln=4,r=8,p=1$")
    assert text != password_hash("pa\u0308ss:word")
    made = read_hash(text)
    assert made is not None
    assert made.matches(normalize("NFC", "pa\u0308ss:word").encode())


def test_a_package_that_is_missing_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = [one for one in (read_hash(text) for _, text in [ARGON2[0], BCRYPT[0], SCRYPT[0]]) if one is not None]
    assert missing_packages(hashes, "basic-auth") == []
    monkeypatch.setitem(sys.modules, "argon2", None)
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    assert [str(problem) for problem in missing_packages(hashes, "basic-auth")] == [
        "configuration: basic-auth verifies argon2 hashes with argon2-cffi, which is not installed "
        "(pip install 'aigw-middleware[passwords]')",
        "configuration: basic-auth verifies bcrypt hashes with bcrypt, which is not installed "
        "(pip install 'aigw-middleware[passwords]')",
    ]


FAST = [(password, read_hash(text)) for password, text in [SCRYPT[6], ARGON2[0], BCRYPT[5], SHA1[0], SHA1[1]]]


@given(st.sampled_from(FAST), st.binary(max_size=80) | st.text(max_size=40).map(str.encode))
def test_only_the_right_password_matches(case: tuple[str, passwords.PasswordHash], presented: bytes) -> None:
    password, made = case
    assert made.matches(presented.replace(b"\0", b"")) == (presented.replace(b"\0", b"") == of(password))


@given(st.sampled_from(FAST), st.data())
def test_one_wrong_bit_is_enough(case: tuple[str, passwords.PasswordHash], data: st.DataObject) -> None:
    password, made = case
    changed = bytearray(of(password))
    bit = data.draw(st.integers(0, len(changed) * 8 - 1))
    changed[bit // 8] ^= 1 << bit % 8
    assert not made.matches(bytes(changed))


@given(st.text(max_size=60) | st.text("$2abxy{SHA}argon./1256=,", max_size=60))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    try:
        made = read_hash(text)
    except ValueError:
        return
    assert made is None or text.startswith(("$", "{"))
