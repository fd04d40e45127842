"""Prerequisites that a person has seen in a product."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """A new table: the code before it does not know it."""
    op.execute(
        """
        CREATE TABLE preflight_confirmations (
            check_id text CONSTRAINT pk_preflight_confirmations PRIMARY KEY,
            confirmed_at timestamptz NOT NULL,
            actor text NOT NULL
        )
        """
    )
