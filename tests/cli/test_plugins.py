"""`aigw plugins`: the table in the default order, and the page of one."""

import enum
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest
from pydantic import AliasChoices, BaseModel, BeforeValidator

from aigw_middleware.cli.fields import rows_of
from aigw_middleware.config.secrets import Secret
from aigw_middleware.order import DEFAULT_ORDER
from aigw_middleware.plugin import Field, Plugin, PluginConfig, Stage
from aigw_middleware.registry import BUILT_IN


def test_the_table_is_in_the_default_order(aigw):
    document = aigw("plugins", "--json").document
    rows = document["plugins"]
    assert document["ok"] is True
    own = ["page-rules", "digest-check", "token-check", "token-count", "prompt-edit", "team-header", "bare"]
    assert [row["name"] for row in rows if row["origin"] == "registered"] == own
    built_in = [row["name"] for row in rows if row["origin"] == "built-in" and not row["problem"]]
    assert built_in == [name for name, _, _ in DEFAULT_ORDER if name in built_in]
    assert {row["name"] for row in rows} >= set(BUILT_IN)
    assert next(row for row in rows if row["name"] == "token-check") == {
        "name": "token-check",
        "stage": "authentication",
        "priority": 310,
        "origin": "registered",
        "directions": ["inbound"],
        "extra": "",
        "description": "Tell who calls.",
        "problem": "",
    }


def test_the_table_for_people(aigw):
    ran = aigw("plugins")
    assert (ran.code, ran.err) == (0, "")
    assert ran.lines[0].split() == ["plug-in", "stage", "priority", "origin", "for", "extra", "what", "it", "does"]
    assert next(line for line in ran.lines if line.startswith("jwt-auth")).split()[5] == "jwt"
    row = next(line for line in ran.lines if line.startswith("team-header"))
    assert row.split(maxsplit=6) == [
        "team-header",
        "default",
        "120",
        "registered",
        "in",
        "out",
        "Copy the caller's team into a header.",
    ]
    assert ran.lines[-1].endswith("in the default order. `aigw plugins NAME`: the page of one.")


def test_a_class_without_a_docstring_has_no_description(aigw):
    rows = aigw("plugins", "--json").document["plugins"]
    assert next(row for row in rows if row["name"] == "bare")["description"] == ""


def test_a_plugin_that_cannot_be_loaded_stands_last_with_the_reason(aigw, monkeypatch):
    monkeypatch.setitem(BUILT_IN, "geo-ip", "a_module_that_is_not_installed.geo:Geo")
    rows = aigw("plugins", "--json").document["plugins"]
    loaded = [row["priority"] is not None for row in rows]
    assert loaded == sorted(loaded, reverse=True)
    row = next(row for row in rows if row["name"] == "geo-ip")
    assert row["priority"] is None
    assert row["problem"].endswith("(pip install a_module_that_is_not_installed)")
    ran = aigw("plugins", "geo-ip")
    assert (ran.code, ran.out) == (2, "")
    assert "a_module_that_is_not_installed is missing" in ran.err


def test_an_extra_is_shown_with_how_to_install_it(aigw, registry):
    class Geo(Plugin[PluginConfig]):
        """Say where callers are."""

        name, extra, stage = "geo", "geo", Stage.RBAC

    registry.register(Geo)
    rows = aigw("plugins", "--json").document["plugins"]
    assert (rows[0]["name"], rows[0]["extra"]) == ("geo", "geo")
    assert "extra        pip install 'aigw-middleware[geo]'" in aigw("plugins", "geo").lines


def test_the_page_of_one(aigw):
    ran = aigw("plugins", "team-header")
    assert ran.code == 0
    assert ran.out.startswith(
        "team-header\nCopy the caller's team into a header.\n\nstage        default\npriority     120\n"
    )
    assert "hooks        on_request" in ran.lines
    assert ran.lines[-3:] == [
        "config",
        "key     type  default  meaning",
        "header  text  x-team   Request header that receives the team.",
    ]
    plugin = aigw("plugins", "team-header", "--json").document["plugin"]
    assert plugin["class"].endswith("conftest.TeamHeader")
    assert plugin["fields"] == [
        {
            "name": "header",
            "type": "text",
            "default": "x-team",
            "description": "Request header that receives the team.",
            "aliases": [],
        }
    ]


def test_the_page_of_a_plugin_in_a_module_of_its_own_has_the_manual(aigw):
    plugin = aigw("plugins", "key-auth", "--json").document["plugin"]
    assert "- name: key-auth" in plugin["manual"]
    assert plugin["origin"] == "built-in"
    assert "keys" in [field["name"] for field in plugin["fields"]]
    ran = aigw("plugins", "key-auth", columns=72)
    assert max(map(len, ran.lines)) <= 72


def test_a_plugin_without_configuration(aigw):
    ran = aigw("plugins", "bare")
    assert ran.lines[-2:] == ["config", "Takes no configuration."]
    assert "hooks        none" in ran.lines


def test_a_name_that_no_plugin_has(aigw):
    ran = aigw("plugins", "team-haeder")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "aigw: no plug-in is named 'team-haeder' (did you mean 'team-header'?)\n"
    assert aigw("plugins", "zzz").err == "aigw: no plug-in is named 'zzz' (`aigw plugins` lists them)\n"
    assert aigw("plugins", "zzz", "--json").document["ok"] is False


@pytest.mark.parametrize("columns", [40, 60, 80, 110])
def test_the_output_fits_the_terminal(aigw, columns):
    ran = aigw("plugins", columns=columns)
    assert max(map(len, ran.lines)) <= columns
    assert "token-check" in ran.out


def test_where_there_is_no_room_at_its_side_the_description_stands_below(aigw):
    lines = aigw("plugins", columns=80).lines
    row = next(number for number, line in enumerate(lines) if line.startswith("token-check"))
    assert lines[row].split() == ["token-check", "authentication", "310", "registered", "in"]
    assert lines[row + 1] == "    Tell who calls."


# ---------------------------------------------------------------------- fields


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    text: str = Field("a b", description="Text.")
    more: "Inner | None" = None


class Everything(PluginConfig):
    required: int = Field(description="A number.")
    ratio: float | None = Field(None, description="A ratio.")
    on: bool = True
    key: Secret = Field(Secret("hidden"), description="A secret.")
    mode: Literal["deny", "allow"] | bool = "deny"
    colour: Colour = Colour.RED
    names: Annotated[tuple[str, ...], BeforeValidator(list)] = ("a", "b")
    fixed: tuple[str, int] = ("", 1)
    inner: list[Inner] = Field([])
    by_name: dict[str, Inner] = Field(
        default_factory=dict, validation_alias=AliasChoices("by_name", "byName", "failStrategy")
    )
    anything: Any = Field({"a": [1, None]})
    mapping: Mapping[str, int] = Field({})


def test_fields_in_the_words_of_a_configuration():
    rows = {row.name: (row.type, row.default) for row in rows_of(Everything)}
    assert rows["required"] == ("integer", "required")
    assert rows["ratio"] == ("number", "unset")
    assert rows["on"] == ("true/false", "true")
    assert rows["key"] == ("secret", "Secret(***)")
    assert rows["mode"] == ("deny|allow or true/false", "deny")
    assert rows["colour"] == ("red|blue", "red")
    assert rows["names"] == ("list of text", "[a, b]")
    assert rows["fixed"] == ("list of text or integer", "['', 1]")
    assert rows["inner"] == ("list of map", "[]")
    assert rows["inner[].text"] == ("text", "a b")
    assert rows["by_name"] == ("map of map", "computed")
    assert rows["by_name.*.text"] == ("text", "a b")
    assert rows["anything"] == ("anything", "{a: [1, unset]}")
    assert rows["mapping"] == ("map of integer", "{}")


def test_models_inside_themselves_end():
    assert [row.name for row in rows_of(Everything) if row.name.startswith("inner")] == [
        "inner",
        "inner[].text",
        "inner[].more",
        "inner[].more.text",
        "inner[].more.more",
        "inner[].more.more.text",
        "inner[].more.more.more",
    ]


def test_other_spellings_are_told_but_for_camel_case():
    rows = {row.name: row for row in rows_of(Everything)}
    assert rows["by_name"].aliases == ("failStrategy",)
    assert rows["required"].aliases == ()
