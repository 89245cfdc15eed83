"""Run directories, and what `hogpen train --resume` goes on from."""
import json
import os

import hogpen

EPOCH = hogpen.STEPS_OF_SMALL // 2  # steps


class Resume(hogpen.CommandTest):
    def train(self, *arguments, epochs=1):
        result = self.succeed("train", "--data=synthetic:640", "--workers=2", "--epochs", epochs, "--json", *arguments)
        return json.loads(result.stdout), result.stderr

    def runs(self):
        return sorted(path.name for path in (self.directory / "runs").iterdir())

    def test_without_a_run_directory_each_run_has_its_own(self):
        first, _ = self.train()
        second, _ = self.train()
        self.assertEqual(len(self.runs()), 2)
        self.assertRegex(self.runs()[0], r"^\d{8}-\d{6}-\d+$")
        self.assertNotEqual(first["run_dir"], second["run_dir"])

    def test_a_used_run_directory_is_refused_without_resume(self):
        self.train("--run-dir=a")
        self.refuse("train", *hogpen.SMALL, "--run-dir=a", says="already holds",
                    hint="--resume auto goes on from it; --run-dir chooses another directory")

    def test_auto_starts_afresh_where_there_is_nothing_and_says_so(self):
        result, talk = self.train("--run-dir=a", "--resume=auto")
        self.assertIn("no checkpoint in a to resume from: starting afresh", talk)
        self.assertEqual(result["step"], EPOCH)

    def test_auto_goes_on_from_the_newest_checkpoint_of_the_run_directory(self):
        self.train("--run-dir=a")
        result, talk = self.train("--run-dir=a", "--resume=auto", epochs=3)
        self.assertIn(f"resumes  a/checkpoints/step-{EPOCH}\n", talk)
        self.assertEqual((result["step"], result["samples"]), (3 * EPOCH, 2 * 640))

    def test_auto_without_a_run_directory_goes_on_with_the_run_that_saved_last(self):
        self.train("--run-dir=runs/z")
        self.train("--run-dir=runs/a")
        for run, time in (("z", 1_000_000_000), ("a", 1_000_000_001)):
            os.utime(self.directory / f"runs/{run}/checkpoints/step-{EPOCH}", (time, time))
        (self.directory / "runs/empty").mkdir()
        result, _ = self.train("--resume=auto", epochs=2)
        self.assertEqual(result["run_dir"], str(self.directory / "runs/a"))
        self.assertEqual(self.runs(), ["a", "empty", "z"])

    def test_auto_without_any_run_starts_afresh(self):
        _, talk = self.train("--resume=auto")
        self.assertIn("no checkpoint in runs to resume from: starting afresh", talk)

    def test_a_run_directory_is_gone_on_with(self):
        self.train("--run-dir=a")
        result, _ = self.train("--resume=a", epochs=2)
        self.assertEqual(result["run_dir"], str(self.directory / "a"))
        self.assertEqual(result["samples"], 640)

    def test_a_checkpoint_begins_a_new_run(self):
        first, _ = self.train("--run-dir=a")
        result, _ = self.train("--resume", first["checkpoint"], "--run-dir=b", epochs=2)
        self.assertEqual(result["run_dir"], str(self.directory / "b"))
        self.assertEqual(result["samples"], 640)
        self.assertEqual(self.state_of("a")["step"], EPOCH)

    def test_a_path_that_is_not_there_is_refused(self):
        self.refuse("train", *hogpen.SMALL, "--resume=no/such", says="--resume: there is no no/such")

    def test_a_run_without_a_checkpoint_is_refused(self):
        (self.directory / "a/checkpoints").mkdir(parents=True)
        self.refuse("train", *hogpen.SMALL, "--resume=a", says="the run a has no complete checkpoint")

    def test_a_run_that_has_all_its_epochs_is_evaluated_and_left_as_it_is(self):
        first, _ = self.train("--run-dir=a", "--checkpoint-every=0", epochs=3)
        for epochs in (3, 2):
            result, talk = self.train("--run-dir=a", "--resume=auto", epochs=epochs)
            self.assertIn(f"has been trained for 3 of {epochs} epochs: nothing is left to train; a larger --epochs goes on", talk)
            self.assertEqual((result["step"], result["epoch"], result["samples"]), (3 * EPOCH, 3, 0))
            self.assertEqual(result["accuracy"], first["accuracy"])
            self.assertEqual(result["checkpoint"], first["checkpoint"])
        self.assertEqual([path.name for path in (self.directory / "a/checkpoints").iterdir()], [f"step-{3 * EPOCH}"])

    def test_what_is_not_given_is_taken_from_the_checkpoint(self):
        model = "Linear(784,16) Tanh Linear(16,10)"
        self.succeed("train", "--data=synthetic:640", "--workers=1", "--epochs=4", "--run-dir=a", f"--model={model}",
                     "--optimizer=adam", "--lr=0.002", "--lr-schedule=cosine", "--min-lr=0.001", env={"HOGPEN_SEED": 7})
        result = self.succeed("train", "--run-dir=a", "--resume=auto", "--epochs=5", "-v", env={"HOGPEN_LR": 0.003})
        state = self.state_of("a")
        self.assertEqual((state["step"], state["model"], state["data"], state["seed"], state["workers"]),
                         (5 * EPOCH, model, "synthetic:640", 7, 1))
        self.assertEqual((state["optimizer"]["kind"], state["lr_schedule"]["base_lr"], state["lr_schedule"]["min_lr"]),
                         ("adam", 0.003, 0.001))
        self.assertIn(f"min-lr = 0.001  (from {self.directory}/a/checkpoints/step-{4 * EPOCH})", result.stderr)
        self.assertIn("lr = 0.003  (from HOGPEN_LR)", result.stderr)

    def test_another_schedule_is_not_held_back_by_settings_of_the_first(self):
        self.train("--run-dir=a", "--lr-schedule=cosine", "--min-lr=0.01")
        self.train("--run-dir=a", "--resume=auto", "--lr-schedule=constant", epochs=2)
        self.assertEqual(self.state_of("a")["lr_schedule"]["kind"], "constant")

    def test_replicas_are_gone_on_with_and_can_be_given_up(self):
        self.train("--run-dir=a", "--replicas=per-worker", "--merge-every=5")
        self.train("--run-dir=a", "--resume=auto", epochs=2)
        self.assertEqual((self.state_of("a")["replicas"], self.state_of("a")["merge_every"]), ("per-worker", 5))
        self.train("--run-dir=a", "--resume=auto", "--replicas=one", epochs=3)
        self.assertEqual(self.state_of("a")["replicas"], "one")

    def test_the_newest_are_kept(self):
        for epochs in (1, 2, 3):
            self.train("--run-dir=a", "--resume=auto", "--keep=2", "--checkpoint-every=0", epochs=epochs)
        self.assertEqual({path.name for path in (self.directory / "a/checkpoints").iterdir()},
                         {f"step-{2 * EPOCH}", f"step-{3 * EPOCH}"})

    def test_a_damaged_checkpoint_is_refused_and_the_one_before_is_named(self):
        for epochs in (1, 2):
            self.train("--run-dir=a", "--resume=auto", "--checkpoint-every=0", epochs=epochs)
        newest = self.directory / f"a/checkpoints/step-{2 * EPOCH}"
        weights = bytearray((newest / "model.safetensors").read_bytes())
        weights[-100] ^= 1
        (newest / "model.safetensors").write_bytes(weights)
        older = f"{self.directory / 'a/checkpoints'}/step-{EPOCH}"
        self.refuse("train", "--run-dir=a", "--resume=auto", "--epochs=3", says="is damaged",
                    hint=f"the one before is {older}; --resume auto goes on from it once the damaged one is moved away")
        newest.rename(newest.with_name("damaged"))
        result, _ = self.train("--run-dir=a", "--resume=auto", epochs=3)
        self.assertEqual(result["samples"], 2 * 640)

    def test_a_refused_checkpoint_leaves_no_run_directory(self):
        first, _ = self.train("--run-dir=a")
        self.refuse("train", "--resume", first["checkpoint"], "--run-dir=b", "--optimizer=adam",
                    says="was trained with the optimizer sgd, but adam was asked for")
        self.assertFalse((self.directory / "b").exists())


if __name__ == "__main__":
    hogpen.main()
