"""What template.yaml must say once SAM has translated it: tests without an AWS account."""
import pathlib
import re
import sys
import unittest

import yaml
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ROOT = pathlib.Path(__file__).resolve().parents[2]


def translated():
    template = yaml_parse((ROOT / "template.yaml").read_text())
    for resource in template["Resources"].values():
        for key in ("CodeUri", "ContentUri"):
            if key in resource.get("Properties", {}):
                resource["Properties"][key] = {"Bucket": "b", "Key": "k"}
    parameters = {name: value.get("Default", "x") for name, value in template["Parameters"].items()}
    return Translator({}, Parser()).translate(template, parameter_values=parameters)["Resources"]


class Template(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.resources = translated()

    def of_type(self, kind):
        return {name: r["Properties"] for name, r in self.resources.items() if r["Type"] == kind}

    def test_the_url_may_be_called_by_anyone_and_both_permissions_say_so(self):
        permissions = self.of_type("AWS::Lambda::Permission").values()
        self.assertEqual({p["Action"] for p in permissions}, {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"})
        (url,) = self.of_type("AWS::Lambda::Url").values()
        self.assertEqual((url["AuthType"], url["InvokeMode"]), ("NONE", "RESPONSE_STREAM"))

    def test_the_hot_table_expires_items_and_the_control_table_is_kept(self):
        tables = self.of_type("AWS::DynamoDB::Table")
        self.assertEqual(tables["HotTable"]["TimeToLiveSpecification"], {"AttributeName": "x", "Enabled": True})
        self.assertTrue(tables["ControlTable"]["DeletionProtectionEnabled"])
        self.assertEqual(self.resources["ControlTable"]["DeletionPolicy"], "Retain")
        for table in tables.values():
            self.assertEqual(table["KeySchema"], [{"AttributeName": "pk", "KeyType": "HASH"}])

    def test_the_role_may_do_what_the_data_plane_does_and_nothing_more(self):
        role = self.of_type("AWS::IAM::Role")["GatewayRole"]
        statements = [s for p in role["Policies"] for s in p["PolicyDocument"]["Statement"]]
        actions = {action for s in statements for action in s["Action"]}
        self.assertFalse([a for a in actions if "*" in a or "Scan" in a or "Query" in a])
        for statement in statements:
            self.assertNotEqual(statement["Resource"], "*")
        hot = next(s for s in statements if s["Sid"] == "Hot")
        self.assertEqual(hot["Condition"]["Null"], {"dynamodb:LeadingKeys": "false"})
        control = next(s for s in statements if s["Sid"] == "Control")
        self.assertEqual(set(control["Action"]), {"dynamodb:GetItem", "dynamodb:BatchGetItem"})

    def test_the_function_is_told_its_tables_its_mode_and_what_the_config_exposes(self):
        (function,) = self.of_type("AWS::Lambda::Function").values()
        variables = function["Environment"]["Variables"]
        self.assertEqual(variables["TOLLGATE_RESPONSE_MODE"], "stream")
        self.assertEqual(variables["TOLLGATE_HOT_TABLE"], {"Ref": "HotTable"})
        config = yaml.safe_load((ROOT / "infra/gateway.yaml").read_text())
        for name in config["expose_env"]:
            self.assertIn(name, variables)

    def test_only_functions_that_exist_are_named_and_all_that_exist_are(self):
        text = (ROOT / "template.yaml").read_text()
        named = set(re.findall(r"Binary: (\S+)", text))
        there = {p.parent.name for p in ROOT.glob("functions/*/Cargo.toml")}
        self.assertEqual(named, there)

    def test_the_layer_holds_the_config_where_the_function_looks(self):
        self.assertTrue((ROOT / "infra/gateway.yaml").is_file())
        (function,) = self.of_type("AWS::Lambda::Function").values()
        self.assertEqual(function["Environment"]["Variables"]["TOLLGATE_CONFIG"], "/opt/gateway.yaml")
        self.assertTrue(function["Layers"])


if __name__ == "__main__":
    outcome = unittest.main(exit=False).result
    failed = len(outcome.failures) + len(outcome.errors)
    print(f"{outcome.testsRun - failed} passed, {failed} failed")
    sys.exit(bool(failed))
