"""What all reports need: a program that waits no longer than it must."""

from tests.servers.hurry import hurried as hurried
