"""The notifier's own tables and the repositories over them."""
