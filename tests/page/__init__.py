"""The sample page in a real browser, against a real server.

axe.min.js is axe-core 4.14.1 by Deque Systems (https://github.com/dequelabs/axe-core), unchanged, from its npm package;
its licence, the Mozilla Public License 2.0, is in axe.LICENSE. It is used by the tests only and is not installed.
"""
