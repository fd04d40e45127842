"""PowerServer's resources, the pairs that they form with OmegaAI's, and the history of both."""

from alembic import op

revision = "0019"
down_revision = "0014"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """New tables, and a column with a default: the code before them does not know them."""
    op.execute("ALTER TABLE resources ADD COLUMN is_gone boolean NOT NULL DEFAULT false")
    op.execute(
        """
        CREATE TABLE powerserver_resources (
            id uuid CONSTRAINT pk_powerserver_resources PRIMARY KEY,
            facility text NOT NULL,
            name text NOT NULL,
            key text,
            kind text,
            modality text,
            department text,
            room text,
            category text,
            hours jsonb,
            duration_minutes integer,
            overbooking boolean,
            active boolean NOT NULL,
            heard_at timestamptz NOT NULL,
            source text NOT NULL,
            CONSTRAINT uq_powerserver_resources_facility UNIQUE (facility, name)
                DEFERRABLE INITIALLY DEFERRED
        )
        """
    )
    op.execute("CREATE INDEX ix_powerserver_resources_key ON powerserver_resources (facility, key)")
    op.execute(
        """
        CREATE TABLE resource_pairs (
            id uuid CONSTRAINT pk_resource_pairs PRIMARY KEY,
            facility text NOT NULL,
            name text NOT NULL,
            powerserver_id uuid,
            resource_id uuid,
            state text NOT NULL,
            drift jsonb NOT NULL,
            near jsonb NOT NULL,
            revision integer NOT NULL,
            changed_at timestamptz NOT NULL
        )
        """
    )
    op.execute("CREATE INDEX ix_resource_pairs_state ON resource_pairs (state)")
    op.execute(
        """
        CREATE TABLE resource_history (
            id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_resource_history PRIMARY KEY,
            facility text NOT NULL,
            name text NOT NULL,
            at timestamptz NOT NULL,
            actor text NOT NULL,
            what text NOT NULL,
            detail jsonb NOT NULL
        )
        """
    )
    op.execute("CREATE INDEX ix_resource_history_line ON resource_history (facility, name, id)")
