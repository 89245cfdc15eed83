"""What the command line takes and refuses."""
import os
import subprocess

import hogpen


class Help(hogpen.CommandTest):
    def test_the_program_lists_its_commands_on_stdout(self):
        result = self.succeed("--help")
        for command in ("train", "eval", "info"):
            self.assertRegex(result.stdout, rf"(?m)^  {command}  ")
        self.assertEqual(result.stderr, "")

    def test_train_shows_groups_defaults_examples_variables_and_exit_codes(self):
        text = self.succeed("train", "--help").stdout
        for part in ("Learning rate:", "--workers, --nproc-per-node", "[fashion-mnist]", "HOGPEN_BATCH_SIZE=128",
                     "Examples:", "Exit codes:", "130, 143"):
            self.assertIn(part, text)
        self.assertLessEqual(max(map(len, text.splitlines())), 110)

    def test_help_wins_over_a_broken_environment(self):
        self.assertIn("usage:", self.succeed("train", "--help", env={"HOGPEN_LR": "abc"}).stdout)

    def test_every_command_has_help(self):
        for command in ("eval", "info"):
            self.assertIn(f"usage: hogpen {command}", self.succeed(command, "--help").stdout)

    def test_the_version_is_one_line(self):
        self.assertRegex(self.succeed("--version").stdout, r"\Ahogpen \d+\.\d+\.\d+\n\Z")

    def test_no_command_shows_the_help_as_an_error(self):
        result = self.run_hogpen()
        self.assertEqual(result.returncode, 2)
        self.assertEqual(result.stdout, "")
        self.assertIn("usage: hogpen", result.stderr)


class Mistakes(hogpen.CommandTest):
    def test_a_mistyped_command_is_suggested(self):
        self.refuse("trian", "--epochs", 3, says="there is no command 'trian'", hint="did you mean 'train'?")

    def test_a_mistyped_option_is_suggested(self):
        self.refuse("train", "--epoch", 3, says="there is no option --epoch", hint="did you mean '--epochs'?")

    def test_the_beginning_of_an_option_is_completed(self):
        self.refuse("train", "--batch=3", says="there is no option --batch", hint="did you mean '--batch-size'?")

    def test_an_option_unlike_any_other_leads_to_the_help(self):
        self.refuse("train", "--zzzzz", says="there is no option --zzzzz",
                    hint="hogpen train --help lists what there is")

    def test_an_option_before_its_command_is_told_its_place(self):
        self.refuse("--epochs", 3, "train", says="there is no option --epochs", hint="write it behind 'hogpen train'")

    def test_a_mistyped_value_is_suggested(self):
        self.refuse("train", "--optimizer", "adm", says="'adm' is none of sgd, adam, adamw, adagrad, rmsprop: "
                                                         "did you mean 'adam'?")

    def test_a_superfluous_argument_is_named(self):
        self.refuse("train", "foo", says="train takes no argument 'foo'")

    def test_a_missing_value_is_noticed_at_the_end_and_before_another_option(self):
        self.refuse("train", "--lr", says="--lr: needs a value")
        self.refuse("train", "--model", "--epochs", 3, says="--model: needs a value, but '--epochs' follows")

    def test_a_missing_checkpoint_is_named(self):
        self.refuse("eval", says="CHECKPOINT is required")

    def test_an_absent_checkpoint_is_named(self):
        self.refuse("eval", "no/such/step-1", says="no/such/step-1")

    def test_data_that_is_not_there_is_named(self):
        self.refuse("train", "--data", "no/such/data", says="no/such/data")


class Numbers(hogpen.CommandTest):
    def test_what_is_no_number_is_refused(self):
        for text in ("abc", "0.1x", "1 2"):
            self.refuse("train", "--lr", text, says=f"--lr: '{text}' is no number")
        for text in ("2.5", "1e3", "ten", "+"):
            self.refuse("train", "--epochs", text, says=f"--epochs: '{text}' is no whole number")

    def test_bounds_are_named(self):
        self.refuse("train", "--epochs", 0, says="--epochs: must be at least 1, but is 0")
        self.refuse("train", "--lr", -0.1, says="--lr: must be at least 0, but is -0.1")
        self.refuse("train", "--beta1", 1, says="--beta1: must be less than 1, but is 1")
        self.refuse("train", "--workers", 5000, says="--workers: must be at most 4096, but is 5000")

    def test_numbers_beyond_all_bounds_are_refused(self):
        self.refuse("train", "--epochs", 10**30, says="--epochs: must be at most")
        self.refuse("train", "--epochs", 9 * 10**18, says="--epochs: must be at most 1000000000, but is")
        self.refuse("train", "--epochs", -10**30, says="--epochs: must be at least 1")
        self.refuse("train", "--lr", "nan", says="--lr: must be finite, but is nan")
        self.refuse("train", "--lr", "inf", says="--lr: must be finite, but is inf")


class Workers(hogpen.CommandTest):
    def test_auto_is_as_many_as_cpus_may_be_used(self):
        one = lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        for option in ("--workers", "--nproc-per-node"):
            result = self.succeed("train", "--data=synthetic:64", "--epochs=1", option, "auto", preexec_fn=one)
            self.assertIn("workers  1 process, hogwild\n", result.stderr)
        self.refuse("train", "--workers", "many", says="--workers: 'many' is no whole number")


class LargeBatches(hogpen.CommandTest):
    def test_a_batch_of_more_than_all_samples_is_all_samples(self):
        result = self.succeed("train", "--data=synthetic:64", "--epochs=2", "--batch-size", 9 * 10**18, "--run-dir=run")
        self.assertIn("checkpoint run/checkpoints/step-2\n", result.stdout)


class OptionsWithoutEffect(hogpen.CommandTest):
    def test_an_option_of_another_optimizer_is_refused(self):
        for option in ("--momentum=0.9", "--dampening=0.1", "--nesterov", "--alpha=0.5"):
            name = option.partition("=")[0]
            self.refuse("train", "--data=synthetic:64", "--optimizer=adam", option,
                        says=f"{name} has no effect with --optimizer adam")
        for option in ("--beta1=0.5", "--beta2=0.5", "--eps=1"):
            name = option.partition("=")[0]
            self.refuse("train", "--data=synthetic:64", option, says=f"{name} has no effect with --optimizer sgd")

    def test_an_option_of_another_schedule_is_refused(self):
        for option in ("--lr-step-epochs", "--lr-gamma", "--min-lr"):
            self.refuse("train", "--data=synthetic:64", option, "0.5",
                        says=f"{option} has no effect with --lr-schedule constant")


class Output(hogpen.CommandTest):
    def test_a_reader_who_has_gone_is_no_error(self):
        read_end, write_end = os.pipe()
        os.close(read_end)
        result = self.run_hogpen("train", "--help", capture_output=False, stdout=write_end, stderr=subprocess.PIPE)
        os.close(write_end)
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_a_full_disk_is_an_error(self):
        with open("/dev/full", "w") as full:
            result = self.run_hogpen("--version", capture_output=False, stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(result.returncode, 1)
        self.assertIn("No space left on device", result.stderr)

    def test_closed_standard_streams_are_no_error(self):
        def close_all():
            for stream in (0, 1, 2):
                os.close(stream)
        result = self.run_hogpen("--version", capture_output=False, preexec_fn=close_all)
        self.assertEqual(result.returncode, 0)


if __name__ == "__main__":
    hogpen.main()
