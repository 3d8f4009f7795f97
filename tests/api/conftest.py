"""What all tests of this folder need: jobs in the test's process that wait no longer than they must."""

from tests.servers.hurry import hurried as hurried
