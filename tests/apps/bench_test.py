"""`hogpen bench`: that it measures, not how fast."""
import json

import hogpen


class Bench(hogpen.CommandTest):
    def test_json_has_each_figure_with_its_unit_and_spread(self):
        result = self.succeed("bench", "sync", "--seconds", "0", "--json")
        figures = json.loads(result.stdout)["figures"]
        self.assertEqual([figure["name"] for figure in figures],
                         ["mutex lock and unlock", "semaphore round trip", "barrier of 2 processes"])
        for figure in figures:
            self.assertEqual(figure["suite"], "sync")
            self.assertGreaterEqual(figure["samples"], 5)
            self.assertGreater(figure["least"], 0)
            self.assertLessEqual(figure["least"], figure["median"])
            self.assertLessEqual(figure["median"], figure["most"])
        self.assertEqual(len(result.stderr.splitlines()), len(figures))

    def test_all_suites_run(self):
        lines = self.succeed("bench", "--seconds", "0").stdout.splitlines()
        self.assertEqual({line.split()[0] for line in lines}, {"sync", "queue", "spawn", "pool"})

    def test_a_mistyped_suite_is_refused_with_a_hint(self):
        self.refuse("bench", "quue", says="did you mean 'queue'?")


if __name__ == "__main__":
    hogpen.main()
