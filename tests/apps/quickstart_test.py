"""What quickstart.sh trains with: defaults where its user says nothing, and nothing against what its user says."""
import subprocess
import unittest
from pathlib import Path

import hogpen

TRAINING = Path(__file__).parents[2] / "cmake" / "training.sh"


def choose(*options, **variables):
    """The arguments that stand before the user's options, as a dictionary."""
    script = f'set -euo pipefail; source {TRAINING}; choose_training "$@"; printf "%s\\n" "${{arguments[@]:-}}"'
    words = subprocess.run(["bash", "-c", script, "bash", *options], check=True, capture_output=True, text=True,
                           env=hogpen.environment(**variables)).stdout.splitlines()
    return dict(zip(words[::2], words[1::2])) if words != [""] else {}


class Quickstart(unittest.TestCase):
    def test_without_options_all_is_set(self):
        self.assertEqual(set(choose()), {"--model", "--data", "--workers", "--epochs", "--lr", "--lr-schedule", "--batch-size"})

    def test_what_the_user_says_is_left_to_the_user(self):
        for options in (["--epochs", "3"], ["--epochs=3"]):
            self.assertNotIn("--epochs", choose(*options))
        self.assertNotIn("--batch-size", choose("--batch_size", "3"))
        self.assertNotIn("--workers", choose("--nproc-per-node", "2"))

    def test_variables_count_too(self):
        self.assertEqual({"--epochs", "--lr", "--batch-size"} & set(choose(HOGPEN_EPOCHS=3, HOGPEN_LR=0.5, HOGPEN_BATCH_SIZE=1)), set())

    def test_another_optimizer_has_its_own_rate(self):
        self.assertNotIn("--lr", choose("--optimizer", "adam"))
        self.assertNotIn("--lr", choose(HOGPEN_OPTIMIZER="adam"))

    def test_a_file_or_a_checkpoint_decides_all(self):
        for options in (["--config", "f.toml"], ["--resume=auto"]):
            self.assertEqual(choose(*options), {})
        self.assertEqual(choose(HOGPEN_CONFIG="f.toml"), {})


if __name__ == "__main__":
    hogpen.main()
