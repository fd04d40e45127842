-- Appointments that staff deleted: the order of each is ORDERED, whatever becomes of the Appointment.
CREATE TABLE IF NOT EXISTS deleted_appointment (id TEXT PRIMARY KEY, deleted_at TEXT NOT NULL) WITHOUT ROWID;
