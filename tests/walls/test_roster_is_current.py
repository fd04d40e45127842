"""Files generated from the members' files are current, and each service hears the topics in its file."""

from local_stack.settings import ROOT
from roster import access, generated, roster, subscriptions


def test_every_generated_file_is_what_the_members_files_say() -> None:
    assert list(generated.drifted(roster(), ROOT)) == [], "make generate writes them"


def test_every_service_hears_what_its_file_says() -> None:
    assert list(subscriptions.problems(roster())) == []


def test_the_page_of_who_may_see_what_is_what_the_services_declare() -> None:
    assert access.is_current(roster()), f"{access.PAGE} is out of date: make generate writes it"
