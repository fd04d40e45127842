"""How far OmegaAI's Task queue has been read."""

from alembic import op

from omegaai.tasks import statements

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """A new table: the code before it does not know it."""
    op.execute(statements.CREATE)
