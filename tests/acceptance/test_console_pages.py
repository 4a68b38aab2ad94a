"""The console in a real browser: one, forty and hundreds of contracts, on a desk and a phone, light and dark."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.check import wait_until
from tests.support.console import DEAD, PHONE, STREAMS, TOKEN, Stage
from tests.support.programs.needed import NotFound, give_up

PICTURES = os.environ.get("SYNCD_TEST_PICTURES")
"""Where to put pictures, such as `docs`; without it none are taken."""
BOTH = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
TIMEOUT_MS = 60_000
expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A daemon with one contract. Tests add to it, in the order in which they stand here."""
    try:
        with Stage(tmp_path_factory.mktemp("console")) as stage:
            yield stage
    except NotFound as error:
        give_up(error)


@pytest.fixture(scope="module")
def forty(stage: Stage) -> Stage:
    """The same with forty, once each is in the state in which it is to be."""
    stage.add_forty()
    with stage.page() as page:
        for name, state in {
            "reports": "failed",
            "orders": "copying",
            "prices": "live",
            "clicks": "live",
        }.items():
            expect(row(page, name)).to_contain_text(state)
        expect(page.locator("#tiles .live .figure")).to_have_text("38")
    return stage


def picture(page: Page, name: str, *, full: bool = False) -> None:
    if PICTURES:
        page.evaluate("document.activeElement.blur()")
        page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=full, animations="disabled")


def row(page: Page, name: str) -> Locator:
    return page.locator(f'tr[data-name="{name}"]')


def contract(page: Page, name: str) -> None:
    expect(page.locator("#about h1")).to_have_text(name)
    expect(page.locator("#file pre").first).to_contain_text(f"shop.{name}")


@pytest.mark.at_scale("light")
@BOTH
def test_one_contract(stage: Stage, dark: bool) -> None:
    """One contract is a calm page: all is well, the icon is green, axe-core finds nothing."""
    with stage.page(dark=dark) as page:
        expect(row(page, "movies")).to_contain_text("live")
        expect(page).to_have_title("syncd")
        assert page.locator("#icon").get_attribute("href") == "console/icon.svg"
        expect(page.locator("#servers")).to_contain_text("MongoDB 6.0")
        if not dark:
            picture(page, "console-one")
        assert stage.findings(page) == []


def test_the_page_alone(stage: Stage) -> None:
    """Nothing is loaded from elsewhere, and what an attacker writes into the page does not run."""
    asked = []
    with stage.page() as page:
        page.on("request", lambda request: asked.append(request.url))
        page.reload()
        expect(row(page, "movies")).to_contain_text("live")
    assert len(asked) > 5
    assert all(url.startswith(stage.daemon.url) for url in asked)
    with stage.page(complains=True) as page:
        page.evaluate(
            "const s = document.createElement('script'); s.textContent = 'window.hurt = 1'; document.body.append(s);"
            "document.body.insertAdjacentHTML('beforeend', '<img src=\"x\" onerror=\"window.hurt = 1\">')"
        )
        page.wait_for_timeout(100)
        assert page.evaluate("window.hurt") is None


@pytest.mark.at_scale("dark")
@BOTH
def test_forty_contracts(forty: Stage, dark: bool) -> None:
    """What is wrong comes first, with its remedy; a copy shows a bar and how long it takes; title and icon turn red."""
    with forty.page(dark=dark) as page:
        expect(page.locator("#tiles .need_a_person .figure")).to_have_text("3")
        expect(page.locator("#rows tr").first).to_contain_text("name the collection behind the view")
        names = page.locator("#rows tr").evaluate_all("rows => rows.map(row => row.dataset.name)")
        assert names[0] == "reports"
        assert set(names[1:3]) == {"prices", "vouchers"}
        assert names[3] == "orders"
        assert names[4:] == sorted(names[4:])
        expect(row(page, "orders").locator("progress")).to_have_attribute("max", re.compile("^[1-9]"))
        expect(row(page, "orders")).to_contain_text("left")
        expect(row(page, "prices")).to_contain_text(f"{DEAD} dead letters")
        expect(page).to_have_title("● (3) syncd")
        assert page.locator("#icon").get_attribute("href") == "console/icon-alert.svg"
        assert forty.findings(page) == []


def test_a_person_finds_a_contract(forty: Stage) -> None:
    """By a key, by words, by direction, by a tile, by the address; the focus stays while the page shows what is new."""
    with forty.page() as page:
        page.keyboard.press("/")
        page.keyboard.type("growth clicks")
        expect(page.locator("#rows tr")).to_have_count(1)
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        focused = "document.activeElement.dataset.key"
        assert page.evaluate(focused) == "clicks"
        before = page.locator("#updated").inner_text()
        expect(page.locator("#updated")).not_to_have_text(before)
        assert page.evaluate(focused) == "clicks"
        page.keyboard.press("Enter")
        contract(page, "clicks")
        page.go_back()
        page.locator("#search").fill("")
        page.locator("#direction").select_option("both")
        expect(page.locator("#rows tr")).to_have_count(1)
        expect(row(page, "carts")).to_contain_text("both ways")
        page.locator("#direction").select_option("")
        page.locator(".tile.copying").click()
        expect(page.locator("#rows tr")).to_have_count(1)
        expect(page.locator("#found")).to_have_text("1 of 40")
        page.goto(f"{forty.daemon.url}/#/tickets")
        contract(page, "tickets")


@pytest.mark.at_scale("dark")
@BOTH
def test_the_page_of_a_contract(forty: Stage, dark: bool) -> None:
    """What it is, how it was, what waits: a copy, an edit, dead letters, an index, a failed lane, both ways."""
    if not dark:
        forty.write("prices", version="1.0.1", slo={"freshness": "3s"})
        for name in ("movies", "reports", "carts", "orders"):
            with forty.page(f"#/{name}") as page:
                contract(page, name)
                assert forty.findings(page) == [], name
    with forty.page("#/prices", dark=dark) as page:
        contract(page, "prices")
        expect(page.locator("#file")).to_contain_text("+  freshness: 3s")
        expect(page.locator("#dead-letters h3")).to_contain_text(f"{DEAD} ×")
        expect(page.locator("#keys")).to_contain_text("prices:{_id}")
        expect(page.locator("#trend svg .line").first).to_be_attached()
        assert forty.findings(page) == []
        picture(page, "console-contract-dark" if dark else "console-contract", full=not dark)


@pytest.mark.at_scale("light")
@BOTH
def test_a_phone(forty: Stage, dark: bool) -> None:
    """Nothing is wider than the screen."""
    for path in ("", "#/prices"):
        with forty.page(path, dark=dark, size=PHONE) as page:
            expect(page.locator("#rows tr, #dead-letters h3").first).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
            assert forty.findings(page) == []
            if not dark:
                picture(page, "console-phone-contract" if path else "console-phone")


@pytest.mark.at_scale("dark")
@BOTH
def test_the_first_picture(forty: Stage, dark: bool) -> None:
    """A contract that is served has a line of its lag, below what the contract promises."""
    with forty.page(dark=dark) as page:
        expect(row(page, "stock").locator(".spark .line")).to_be_attached()
        expect(row(page, "stock").locator(".spark.late")).to_have_count(0)
        expect(row(page, "orders").locator("progress")).to_be_visible()
        picture(page, "console-dark" if dark else "console")


def test_dead_letters_are_replayed_and_dropped(forty: Stage) -> None:
    """An action says what it will do to how many keys, needs the token, and is logged."""
    with forty.page("#/vouchers") as page:
        contract(page, "vouchers")
        page.get_by_role("button", name="Replay", exact=True).click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("reads 2 documents again and writes 2 keys of projection card")
        expect(dialog).to_contain_text("syncd deadletters replay vouchers")
        dialog.get_by_label("Token").fill("wrong")
        dialog.get_by_role("button", name="Replay").click()
        expect(dialog.get_by_role("alert")).to_contain_text("SYNCD_TOKEN")
        forty.mongo["shop"]["vouchers"].update_one({"_id": 0}, {"$set": {"price": 4.0}})
        dialog.get_by_label("Token").fill(TOKEN)
        dialog.get_by_role("button", name="Replay").click()
        expect(dialog).to_have_count(0)
        expect(page.locator("#dead-letters h3")).to_contain_text("1 ×")
        page.locator("#dead-letters summary").click()
        expect(page.locator("#dead-letters")).to_contain_text("vouchers:1")
        page.get_by_role("button", name="Drop", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Drop").click()
        expect(page.locator("#dead-letters")).to_contain_text("None wait.")
        page.keyboard.press("Escape")
    for action in ("deadletters/replay", "deadletters/drop"):
        wait_until(lambda action=action: forty.daemon.logs(action=action, contract="vouchers"))


def test_what_a_person_decides(forty: Stage) -> None:
    """An edit is approved, some documents are copied, and what a contract left is removed: each after the page has said
    what it will do. Texts that are long, or turn the direction of writing, spoil no page."""
    owner = "abc \u202e gnp.exe " + "W" * 900
    metadata = {"name": "leads", "version": "1.1.0", "owner": owner, "description": owner}
    forty.write("leads", sync={"apply": "planned"}, metadata=metadata)
    (forty.contracts / "banners.yaml").unlink()
    with forty.page(complains=True) as page:
        expect(row(page, "leads")).to_contain_text("an edit waits for approval")
        page.goto(f"{forty.daemon.url}/#/leads")
        act(page, "Approve the edit", "restart, patch for readers", TOKEN)
        expect(page.locator("#about")).to_contain_text("abc \\u202e gnp.exe")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        act(page, "Copy some", "2 documents match", filter='{"_id": {"$in": [1, 2, 9007199254740993]}}')
        expect(page.locator("#about")).to_contain_text("2 documents copied by a filter.")
        for wrong, why in (
            ("[]", "no object of JSON"),
            ('{"$expr": {"$divide": [1, 0]}}', "MongoDB refuses the filter"),
        ):
            act(page, "Copy some", why, filter=wrong, goes_on=False)
        page.goto(f"{forty.daemon.url}/#/")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        expect(page.locator("#left h3")).to_contain_text("banners")
        assert forty.findings(page) == []
        act(page, "Remove with keys", "keys of banners:{_id}")  # "at least" so many where counting takes long
        expect(page.locator("#left")).to_be_empty()
    assert not forty.redis.keys("banners:*")


def act(page: Page, name: str, says: str, token: str = "", filter: str = "", *, goes_on: bool = True) -> None:
    """Choose an action, read what it would do, and do it."""
    page.get_by_role("button", name=name, exact=True).click()
    dialog = page.get_by_role("dialog")
    if filter:
        dialog.get_by_label("Filter").fill(filter)
    if token:
        dialog.get_by_label("Token").fill(token)
    if filter or token:
        dialog.get_by_role("button", name="Show what it will do").click()
    expect(dialog).to_contain_text(says)
    dialog.get_by_role("button", name=name if goes_on else "Cancel", exact=True).click()
    expect(dialog).to_have_count(0)


@pytest.mark.at_scale
def test_hundreds_of_contracts(forty: Stage) -> None:
    """The page is as calm with four hundred contracts, and a search finds one."""
    forty.add_streams()
    with forty.page() as page:
        expect(page.locator("#tiles .all .figure")).to_have_text(str(39 + STREAMS))
        live = re.compile(f"{37 + STREAMS}|{38 + STREAMS}")
        expect(page.locator("#tiles .live .figure")).to_have_text(live)
        expect(page.locator("#rows tr").first).to_contain_text("reports")
        page.locator("#search").fill("stream-023")
        expect(page.locator("#rows tr")).to_have_count(1)
        page.locator("#search").fill("")
        picture(page, "console-400")
        assert forty.findings(page) == []


@pytest.mark.at_scale
def test_a_daemon_that_stands(forty: Stage) -> None:
    """It is there and gives no answer: the page says so soon, and goes on with it."""
    with forty.page(complains=True) as page:
        expect(row(page, "movies")).to_contain_text("live")
        forty.daemon.pause()
        expect(page.locator("#lost")).to_contain_text("does not answer", timeout=25_000)
        forty.daemon.resume()
        expect(page.locator("#lost")).to_be_hidden()


def test_a_daemon_that_is_gone(forty: Stage) -> None:
    """The page keeps what it knew, says that it is old, and turns red."""
    with forty.page(complains=True) as page:
        expect(row(page, "movies")).to_contain_text("live")
        forty.daemon.terminate()
        expect(page.locator("#lost")).to_contain_text("does not answer")
        expect(row(page, "movies")).to_contain_text("live")
        assert page.title().startswith("●")
