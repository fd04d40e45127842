"""States are written as words; services of the former version, which still run, go on reading numbers."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
phase = "before"

# The present code writes words and reads both. Until the former code is gone, the store keeps numbers: a trigger turns
# each word into the number that the former code reads. Revision 0011, which goes after the code, ends that.
_STATEMENTS = (
    """
    CREATE FUNCTION number_of_state(word text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE word
            WHEN 'unscheduled' THEN 'L0' WHEN 'staff-booked' THEN 'L1' WHEN 'confirmed' THEN 'L2'
            WHEN 'move-requested' THEN 'L3' WHEN 'patient-booked' THEN 'L4' WHEN 'arrived' THEN 'L5'
            WHEN 'done' THEN 'L6' WHEN 'cancelled' THEN 'L7' ELSE word END
    $$
    """,
    """
    CREATE FUNCTION keep_number_of_link() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.state := number_of_state(NEW.state); RETURN NEW; END $$
    """,
    """
    CREATE FUNCTION keep_numbers_of_history() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.state_before := number_of_state(NEW.state_before);
        NEW.state_after := number_of_state(NEW.state_after);
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER keep_number_of_link BEFORE INSERT OR UPDATE ON appointment_links
    FOR EACH ROW EXECUTE FUNCTION keep_number_of_link()
    """,
    """
    CREATE TRIGGER keep_numbers_of_history BEFORE INSERT ON link_history
    FOR EACH ROW EXECUTE FUNCTION keep_numbers_of_history()
    """,
)


def upgrade() -> None:
    """Make the triggers."""
    for statement in _STATEMENTS:
        op.execute(statement)
