"""Runs a service: its runtime, loops, HTTP surface, store guard and certificates."""

from chassis.host.certificates import Certificate, CertificateWatch, expiry_of, expiry_of_der
from chassis.host.runtime import RecoveryRefused, Runtime
from chassis.host.service import Check, Service, collect_seldom
from chassis.host.store_guard import Consumes, StoreGuard

__all__ = [
    "Certificate",
    "CertificateWatch",
    "Check",
    "Consumes",
    "RecoveryRefused",
    "Runtime",
    "Service",
    "StoreGuard",
    "collect_seldom",
    "expiry_of",
    "expiry_of_der",
]
