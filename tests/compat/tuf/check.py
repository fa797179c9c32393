"""python-tuf against our client and our signatures. `check.py PROGRAM SONDE SOURCE`: the example `interop`, the operator's program, and
python-tuf's unpacked source, whose tests are run."""

import datetime
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

PROGRAM, SONDE, SOURCE = sys.argv[1:4]
sys.path.insert(0, SOURCE)

from ours import OurUpdater  # noqa: E402

OurUpdater.program = PROGRAM

from securesystemslib.signer import CryptoSigner  # noqa: E402
from tests import test_updater_consistent_snapshot, test_updater_key_rotations, test_updater_top_level_update  # noqa: E402
from tests.repository_simulator import RepositorySimulator  # noqa: E402
from tuf.api.exceptions import UnsignedMetadataError  # noqa: E402
from tuf.api.metadata import Root  # noqa: E402
from tuf.ngclient import FetcherInterface, Updater  # noqa: E402

# python-tuf's own tests that cannot be asked of another client, each with the reason.
LEFT_OUT = {
    "test_cached_root_missing_without_bootstrap": "our client always has the image's root",
    "test_max_root_rotations": "sets python-tuf's own configuration; ours has a test with its own bound",
    "test_max_metadata_lengths": "sets python-tuf's own configuration; ours has tests with its own bounds",
    "test_not_loading_targets_twice": "delegations, which we do not follow",
    "test_load_metadata_from_cache": "counts python-tuf's own calls of open()",
    "test_intermediate_root_cache": "counts python-tuf's own calls of open()",
    "test_intermediate_root_cache_poisoning": "old roots are not kept: only the newest is trusted",
    "test_new_root_same_version": "python-tuf refuses; step 5.3.5 of the specification goes on with the trusted root (see below)",
    "test_delegated_roles_update": "delegations, which we do not follow",
    "test_download_targets": "downloads by python-tuf's own code",
}


def theirs():
    """python-tuf's tests, with our client in the place of theirs."""
    suite = unittest.TestSuite()
    for module in (test_updater_top_level_update, test_updater_key_rotations, test_updater_consistent_snapshot):
        module.Updater = OurUpdater
        for group in unittest.defaultTestLoader.loadTestsFromModule(module):
            for test in group:
                name = test.id().rsplit(".", 1)[1]
                if name in LEFT_OUT:
                    print(f"left out: {name}: {LEFT_OUT[name]}")
                else:
                    suite.addTest(test)
    return suite


class Folder(FetcherInterface):
    """Files of a folder as python-tuf fetches them."""

    def __init__(self, root):
        self.root = pathlib.Path(root)

    def _fetch(self, url):
        from tuf.api.exceptions import DownloadHTTPError

        path = self.root / url.removeprefix("https://example.com/")
        if not path.is_file():
            raise DownloadHTTPError(f"no {path.name}", 404)
        yield path.read_bytes()


def image(number):
    """The least that is an image: a PE file for 64-bit ARM with a section `.osrel`, and something in the signature's place."""
    text = f"ID=sonde\nIMAGE_ID=sonde\nIMAGE_VERSION={number}\nVERSION_ID=0.{number}\n".encode().ljust(512)
    file = bytearray(1024)
    for at, what in (
        (0, b"MZ"),
        (0x3C, b"\x40"),
        (0x40, b"PE\0\0"),
        (0x44, struct.pack("<HH", 0xAA64, 1)),
        (0x54, struct.pack("<H", 240)),
        (0x58, struct.pack("<H", 0x20B)),
        (0x58 + 108, b"\x10"),
        (0x58 + 144, struct.pack("<II", 1024 + 512, 16)),
        (0x58 + 240, struct.pack("<8sIIII", b".osrel", 512, 0, 512, 1024)),
    ):
        file[at : at + len(what)] = what
    return bytes(file) + text + b"\x07" * 16


class Both(unittest.TestCase):
    """What python-tuf's own tests do not ask."""

    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.addCleanup(self.place.cleanup)
        self.sim = RepositorySimulator()

    def ours(self):
        updater = OurUpdater(self.place.name + "/kept", "https://example.com/metadata/", fetcher=self.sim, bootstrap=self.sim.signed_roots[0])
        updater.refresh()
        return updater.outcome

    def theirs(self, repository):
        """python-tuf's client, which begins with the repository's first root."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.place.name))
        for name in ("kept", "images"):
            (folder / name).mkdir()
        return Updater(
            str(folder / "kept"),
            "https://example.com/metadata/",
            str(folder / "images"),
            "https://example.com/targets/",
            Folder(repository),
            bootstrap=(repository / "metadata/1.root.json").read_bytes(),
        )

    def test_what_an_operator_releases_python_tuf_installs(self):
        folder = pathlib.Path(self.place.name)
        data, keys = folder / "data", folder / "keys"

        def release(*words):
            subprocess.run([SONDE, "admin", "--data", data, "release", *words, "--keys", keys], check=True, stdout=subprocess.DEVNULL)

        release("init")
        for number in (7, 8):
            (folder / "image").write_bytes(image(number))
            release("add", folder / "image", "--percentage", "5")
        for role in ("timestamp", "snapshot", "log"):
            release("rotate", role)
        release("rotate", "targets", "--remove", keys / "targets-1.pem")
        release("rotate", "root", "--remove", keys / "root-1.pem")
        release("roll-out", "8", "50")
        release("withdraw", "7")
        release("renew")
        updater = self.theirs(data / "updates")
        updater.refresh()
        self.assertEqual(updater._trusted_set.root.version, 6)
        self.assertIsNone(updater.get_targetinfo("sonde_7_aarch64.efi"))
        info = updater.get_targetinfo("sonde_8_aarch64.efi")
        self.assertEqual(info.custom["sonde"]["percentage"], 50)
        self.assertEqual(pathlib.Path(updater.download_target(info)).read_bytes(), image(8))

    def test_what_we_sign_python_tuf_installs(self):
        repository = pathlib.Path(self.place.name, "repository")
        subprocess.run([PROGRAM, "make", repository], check=True)
        updater = self.theirs(repository)
        updater.refresh()
        info = updater.get_targetinfo("aarch64/sonde-12.efi")
        self.assertEqual(info.custom["sonde"]["percentage"], 10)
        installed = updater.download_target(info)
        self.assertEqual(pathlib.Path(installed).read_bytes(), b"an image" * 1000)
        self.assertEqual(updater._trusted_set.root.version, 3)

    def test_what_python_tuf_signs_we_trust(self):
        self.sim.compute_metafile_hashes_length = True
        self.sim.root.unrecognized_fields["later"] = {"é😀～": ['"\\/\n\t\x7f', -1, True, None, {}]}
        self.sim.root.version += 1
        self.sim.publish_root()
        self.sim.add_target("targets", b"image", "aarch64/sonde-12.efi")
        ours = {"version": 12, "name": "0.4.1", "architecture": "aarch64", "percentage": 10, "not_before": "2026-12-01T00:00:00Z"}
        self.sim.targets.targets["aarch64/sonde-12.efi"].unrecognized_fields["custom"] = {"sonde": ours, "other": "é"}
        self.sim.targets.version += 1
        self.sim.update_snapshot()
        expected = {"targets": {"aarch64/sonde-12.efi": 5}, "releases": ["0.4.1"], "problems": 0}
        self.assertEqual(self.ours(), expected)

    def test_ecdsa_signs_and_other_kinds_do_not(self):
        for role in ("targets", "timestamp"):
            signer = CryptoSigner.generate_ecdsa()
            self.sim.root.add_key(signer.public_key, role)
            self.sim.root.roles[role].threshold = 2
            self.sim.add_signer(role, signer)
        self.sim.root.version += 1
        self.sim.publish_root()
        self.ours()
        rsa = CryptoSigner.generate_rsa()
        self.sim.root.add_key(rsa.public_key, "snapshot")
        self.sim.root.version += 1
        self.sim.publish_root()
        self.ours()
        self.sim.root.roles["snapshot"].threshold = 2
        self.sim.add_signer("snapshot", rsa)
        self.sim.root.version += 1
        self.sim.publish_root()
        self.sim.update_snapshot()
        with self.assertRaises(UnsignedMetadataError):
            self.ours()

    def test_the_same_root_again_is_no_news(self):
        self.sim.publish_root()
        self.ours()
        kept = Root.from_dict(__import__("json").loads(pathlib.Path(self.place.name, "kept/root.json").read_text())["signed"])
        self.assertEqual(kept.version, 1)

    def test_a_key_is_called_what_it_is(self):
        key = self.sim.signers["timestamp"].copy().popitem()[1].public_key
        self.sim.root.keys["00" * 32] = self.sim.root.keys.pop(key.keyid)
        self.sim.root.roles["timestamp"].keyids = ["00" * 32]
        self.sim.root.version += 1
        self.sim.publish_root()
        with self.assertRaisesRegex(Exception, "is in truth " + key.keyid):
            self.ours()

    def test_a_date_that_python_tuf_wrote_is_the_same_date(self):
        moment = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        self.sim.timestamp.expires = moment + datetime.timedelta(days=400)
        self.sim.update_timestamp()
        self.ours()
        self.sim.timestamp.expires = moment
        self.sim.update_timestamp()
        with self.assertRaisesRegex(Exception, "has expired at " + moment.strftime("%Y-%m-%dT%H:%M:%SZ")):
            self.ours()


if __name__ == "__main__":
    everything = unittest.TestSuite([theirs(), unittest.defaultTestLoader.loadTestsFromTestCase(Both)])
    outcome = unittest.TextTestRunner(verbosity=1).run(everything)
    sys.exit(0 if outcome.wasSuccessful() and outcome.testsRun >= 30 else 1)
