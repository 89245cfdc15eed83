"""Where `hogpen train` takes its settings from, and which of them wins. What was meant in the end stands in state.json."""
import hogpen


class SettingsTest(hogpen.CommandTest):
    def write(self, text, name="experiment.toml"):
        (self.directory / name).write_text(text)
        return name

    def train(self, *arguments, env=None):
        self.succeed("train", *hogpen.SMALL, "--run-dir=run", *arguments, env=env)
        return self.state_of("run")

    def refuse_file(self, text, says, hint=None):
        self.refuse("train", "--config", self.write(text), says=says, hint=hint)


class Precedence(SettingsTest):
    FILE = "batch-size = 16\n"

    def test_the_default_stands_when_nothing_is_said(self):
        self.assertEqual(self.train()["batch_size"], 64)

    def test_the_file_wins_over_the_default(self):
        self.assertEqual(self.train("--config", self.write(self.FILE))["batch_size"], 16)

    def test_the_environment_wins_over_the_file(self):
        state = self.train("--config", self.write(self.FILE), env={"HOGPEN_BATCH_SIZE": 8})
        self.assertEqual(state["batch_size"], 8)

    def test_a_flag_wins_over_the_environment_and_the_file(self):
        state = self.train("--config", self.write(self.FILE), "--batch-size", 4, env={"HOGPEN_BATCH_SIZE": 8})
        self.assertEqual(state["batch_size"], 4)

    def test_the_last_of_two_flags_wins(self):
        self.assertEqual(self.train("--batch-size=4", "--batch-size=5")["batch_size"], 5)

    def test_a_switch_of_the_file_is_turned_off_by_a_flag(self):
        config = self.write("nesterov = true\nmomentum = 0.9\n")
        self.assertTrue(self.train("--config", config)["optimizer"]["nesterov"])
        self.succeed("train", *hogpen.SMALL, "--run-dir=off", "--config", config, "--nesterov=false")
        self.assertFalse(self.state_of("off")["optimizer"]["nesterov"])


class Spellings(SettingsTest):
    def test_underscores_are_dashes(self):
        self.assertEqual(self.train("--batch_size", 16)["batch_size"], 16)

    def test_torchruns_name_for_workers_is_known(self):
        self.assertEqual(self.train("--nproc_per_node=1")["workers"], 1)
        self.assertIn("(from HOGPEN_NPROC_PER_NODE)",
                      self.succeed("train", "--data=synthetic:64", "--epochs=1", "--run-dir=b", "-v",
                                   env={"HOGPEN_NPROC_PER_NODE": 1}).stderr)
        self.assertEqual(self.state_of("b")["workers"], 1)

    def test_a_leading_zero_does_not_make_a_number_octal(self):
        self.assertEqual(self.train("--batch-size=010")["batch_size"], 10)

    def test_an_empty_variable_counts_as_absent(self):
        self.assertEqual(self.train(env={"HOGPEN_BATCH_SIZE": ""})["batch_size"], 64)

    def test_the_file_may_use_underscores_types_and_a_table(self):
        config = self.write('optimizer = "rmsprop"\nbatch_size = 32\n\n[train]\nlr = 0.25\nbatch-size = "16"\n')
        state = self.train("--config", config)
        self.assertEqual(state["optimizer"]["kind"], "rmsprop")
        self.assertEqual(state["lr_schedule"]["base_lr"], 0.25)
        self.assertEqual(state["batch_size"], 16)

    def test_the_file_may_be_named_by_the_environment(self):
        state = self.train(env={"HOGPEN_CONFIG": self.write("batch-size = 16\n")})
        self.assertEqual(state["batch_size"], 16)


class Meaning(SettingsTest):
    def test_defaults_depend_on_the_optimizer_as_in_pytorch(self):
        state = self.train("--optimizer=adamw")
        self.assertEqual(state["lr_schedule"]["base_lr"], 0.001)
        self.assertEqual(state["optimizer"]["weight_decay"], 0.01)
        self.succeed("train", *hogpen.SMALL, "--run-dir=b", "--optimizer=adagrad")
        self.assertEqual(self.state_of("b")["optimizer"]["eps"], 1e-10)

    def test_each_hyper_parameter_arrives(self):
        optimizer = self.train("--optimizer=adam", "--beta1=0.5", "--beta2=0.75", "--eps=0.125",
                               "--weight-decay=0.25", "--optimizer-state=shared")["optimizer"]
        self.assertEqual({name: optimizer[name] for name in ("beta1", "beta2", "eps", "weight_decay", "state")},
                         {"beta1": 0.5, "beta2": 0.75, "eps": 0.125, "weight_decay": 0.25, "state": "shared"})
        self.succeed("train", *hogpen.SMALL, "--run-dir=b", "--momentum=0.5", "--dampening=0.25", "--seed=7",
                     "--mode=locked")
        state = self.state_of("b")
        self.assertEqual((state["optimizer"]["momentum"], state["optimizer"]["dampening"]), (0.5, 0.25))
        self.assertEqual((state["seed"], state["mode"]), (7, "locked"))

    def test_epochs_of_the_schedule_become_steps(self):
        schedule = self.train("--lr-schedule=step", "--lr-step-epochs=0.5", "--lr-gamma=0.25", "--lr=0.5",
                              "--warmup-epochs=0.2")["lr_schedule"]
        self.assertEqual(schedule, {"kind": "step", "base_lr": 0.5, "gamma": 0.25, "min_lr": 0.0, "step_size": 5,
                                    "warmup_steps": 2, "total_steps": hogpen.STEPS_OF_SMALL})


class WrongFiles(SettingsTest):
    def test_what_is_no_toml_is_refused_with_line_and_column(self):
        self.refuse_file('lr = 0.1\nepochs = = 3\n', says="experiment.toml:2:10: ")

    def test_an_unknown_key_is_refused_with_its_place_and_a_suggestion(self):
        self.refuse_file("\n\nepoch = 3\n", says="experiment.toml:3:1: there is no option 'epoch'",
                         hint="did you mean 'epochs'?")

    def test_an_unknown_key_in_the_table_has_its_place_too(self):
        self.refuse_file("[train]\n  batchsize = 3\n", says="experiment.toml:2:3: there is no option 'batchsize'",
                         hint="did you mean 'batch-size'?")

    def test_an_unknown_table_is_refused(self):
        self.refuse_file("[trian]\nlr = 1\n", says="experiment.toml:1:2: there is no table 'trian'",
                         hint="did you mean 'train'?")

    def test_a_wrong_value_is_refused_with_its_place(self):
        self.refuse_file('lr = "abc"\n', says="experiment.toml:1:1: --lr: 'abc' is no number")
        self.refuse_file("seed = 1\nepochs = 2.5\n", says="experiment.toml:2:1: --epochs: '2.5' is no whole number")
        self.refuse_file("epochs = true\n", says="experiment.toml:1:1: --epochs: 'true' is no whole number")
        self.refuse_file("nesterov = 3\n", says="experiment.toml:1:1: --nesterov: '3' is none of true, false")

    def test_a_list_is_refused(self):
        self.refuse_file("lr = [1, 2]\n", says="experiment.toml:1:6: must be a string, a number, true or false")

    def test_one_option_in_two_spellings_is_refused(self):
        self.refuse_file("batch_size = 1\nbatch-size = 2\n", says="stands already at experiment.toml:")

    def test_a_file_may_not_name_another(self):
        self.refuse_file('config = "b.toml"\n', says="experiment.toml:1:1: there is no option 'config'")

    def test_an_absent_file_is_named(self):
        self.refuse("train", "--config", "no.toml", says="no.toml: No such file or directory")


class WrongVariables(SettingsTest):
    def test_a_wrong_value_is_refused_with_the_variables_name(self):
        self.refuse("train", env={"HOGPEN_LR": "abc"}, says="HOGPEN_LR: --lr: 'abc' is no number")

    def test_a_slip_in_a_variables_name_is_warned_of(self):
        result = self.run_hogpen("train", "--data=none/such", env={"HOGPEN_BATCHSIZE": 3})
        self.assertIn("warning: the environment variable HOGPEN_BATCHSIZE is of no effect; "
                      "did you mean 'HOGPEN_BATCH_SIZE'?", result.stderr)

    def test_variables_of_the_build_are_not_taken_for_slips(self):
        names = ("HOGPEN_CUDA", "HOGPEN_PYTHON", "HOGPEN_TORCH_ROOT", "HOGPEN_CONFIG")
        result = self.run_hogpen("train", "--data=none/such", env=dict.fromkeys(names, ""))
        self.assertNotIn("warning", result.stderr)


class Verbose(SettingsTest):
    def test_each_setting_is_shown_with_its_origin(self):
        config = self.write("lr = 0.5\nseed = 3\n")
        text = self.succeed("train", *hogpen.SMALL, "--run-dir=run", "--config", config, "-v",
                            env={"HOGPEN_SEED": 4}).stderr
        self.assertIn("lr = 0.5  (from experiment.toml:1:1)", text)
        self.assertIn("seed = 4  (from HOGPEN_SEED)", text)
        self.assertIn("epochs = 2  (from the command line)", text)


if __name__ == "__main__":
    hogpen.main()
