"""What template.yaml must say once SAM has translated it, and what `sam build` made of it: tests without an AWS account."""
import json
import pathlib
import sys
import unittest

import yaml
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILT = ROOT / ".aws-sam" / "build"


def translated(template):
    for resource in template["Resources"].values():
        for key in ("CodeUri", "ContentUri"):
            if key in resource.get("Properties", {}):
                resource["Properties"][key] = {"Bucket": "b", "Key": "k"}
    parameters = {name: value.get("Default", "x") for name, value in template["Parameters"].items()}
    return Translator({}, Parser()).translate(template, parameter_values=parameters)["Resources"]


class Template(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.source = yaml_parse((ROOT / "template.yaml").read_text())
        cls.resources = translated(yaml_parse((ROOT / "template.yaml").read_text()))
        cls.config = yaml.safe_load((ROOT / "infra/gateway.yaml").read_text())

    def of_type(self, kind):
        return {name: r["Properties"] for name, r in self.resources.items() if r["Type"] == kind}

    def function(self):
        (function,) = self.of_type("AWS::Lambda::Function").values()
        return function

    def test_the_url_streams_and_both_permissions_that_anyone_needs_are_given_to_the_alias(self):
        permissions = list(self.of_type("AWS::Lambda::Permission").values())
        self.assertEqual({p["Action"] for p in permissions}, {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"})
        by_action = {p["Action"]: p for p in permissions}
        self.assertEqual(by_action["lambda:InvokeFunctionUrl"]["FunctionUrlAuthType"], "NONE")
        self.assertIs(by_action["lambda:InvokeFunction"]["InvokedViaFunctionUrl"], True)
        (alias,) = (name for name, r in self.resources.items() if r["Type"] == "AWS::Lambda::Alias")
        for permission in permissions:
            self.assertEqual((permission["FunctionName"], permission["Principal"]), ({"Ref": alias}, "*"))
        (url,) = self.of_type("AWS::Lambda::Url").values()
        self.assertEqual((url["AuthType"], url["InvokeMode"]), ("NONE", "RESPONSE_STREAM"))

    def test_the_function_is_told_to_stream_as_its_url_does(self):
        (url,) = self.of_type("AWS::Lambda::Url").values()
        mode = self.function()["Environment"]["Variables"]["TOLLGATE_RESPONSE_MODE"]
        self.assertEqual((url["InvokeMode"], mode), ("RESPONSE_STREAM", "stream"))

    def test_the_function_is_told_the_concurrency_that_is_reserved_for_it(self):
        properties = self.source["Resources"]["Gateway"]["Properties"]
        reserved = {"Fn::If": ["Reserved", {"Ref": "Concurrency"}, {"Ref": "AWS::NoValue"}]}
        self.assertEqual(properties["ReservedConcurrentExecutions"], reserved)
        told = properties["Environment"]["Variables"]["TOLLGATE_RESERVED_CONCURRENCY"]
        self.assertEqual(told, {"Ref": "Concurrency"})

    def test_a_change_of_anything_is_rolled_out_by_a_canary_that_both_alarms_roll_back(self):
        self.assertIs(self.source["Resources"]["Gateway"]["Properties"]["AutoPublishAliasAllProperties"], True)
        (group,) = self.of_type("AWS::CodeDeploy::DeploymentGroup").values()
        self.assertEqual(group["DeploymentConfigName"]["Fn::Sub"][1]["ConfigName"], "Canary10Percent5Minutes")
        alarms = {alarm["Name"]["Ref"] for alarm in group["AlarmConfiguration"]["Alarms"]}
        self.assertEqual(alarms, set(self.of_type("AWS::CloudWatch::Alarm")))
        self.assertIn("DEPLOYMENT_STOP_ON_ALARM", group["AutoRollbackConfiguration"]["Events"])
        metrics = {alarm["MetricName"] for alarm in self.of_type("AWS::CloudWatch::Alarm").values()}
        self.assertEqual(metrics, {"Url5xxCount", "UrlRequestLatency"})

    def test_the_hot_table_expires_items_and_the_control_table_is_kept(self):
        tables = self.of_type("AWS::DynamoDB::Table")
        self.assertEqual(tables["HotTable"]["TimeToLiveSpecification"], {"AttributeName": "x", "Enabled": True})
        self.assertNotIn("PointInTimeRecoverySpecification", tables["HotTable"])
        self.assertTrue(tables["ControlTable"]["DeletionProtectionEnabled"])
        self.assertTrue(tables["ControlTable"]["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"])
        for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
            self.assertEqual(self.resources["ControlTable"][policy], "Retain")
        for table in tables.values():
            self.assertEqual(table["BillingMode"], "PAY_PER_REQUEST")
            self.assertEqual(table["KeySchema"], [{"AttributeName": "pk", "KeyType": "HASH"}])
            self.assertEqual(table["AttributeDefinitions"], [{"AttributeName": "pk", "AttributeType": "S"}])

    def test_the_role_may_do_what_the_data_plane_does_and_nothing_more(self):
        self.assertEqual(self.function()["Role"], {"Fn::GetAtt": ["GatewayRole", "Arn"]})
        role = self.of_type("AWS::IAM::Role")["GatewayRole"]
        self.assertNotIn("ManagedPolicyArns", role)
        listed = [s for p in role["Policies"] for s in p["PolicyDocument"]["Statement"]]
        statements = {s["Sid"]: s for s in listed if "Sid" in s}
        self.assertEqual(set(statements), {"Hot", "Control", "Log"})
        # Secrets may be read where a parameter of the stack names them, and these alone.
        given = {s["Fn::If"][0]: s["Fn::If"] for s in listed if "Fn::If" in s}
        self.assertEqual(len(statements) + len(given), len(listed))
        reads = {
            "HasSecretParameters": ("ssm:GetParameter", "SecretParameters"),
            "HasSecrets": ("secretsmanager:GetSecretValue", "Secrets"),
            "HasSecretKeys": ("kms:Decrypt", "SecretKeys"),
        }
        self.assertEqual(set(given), set(reads))
        for condition, (action, parameter) in reads.items():
            _, statement, otherwise = given[condition]
            self.assertEqual((statement["Action"], statement["Resource"]), (action, {"Ref": parameter}))
            self.assertEqual(otherwise, {"Ref": "AWS::NoValue"})
            self.assertEqual(self.source["Parameters"][parameter]["Default"], "")
        self.assertIn("kms:ViaService", given["HasSecretKeys"][1]["Condition"]["StringEquals"])
        for statement in statements.values():
            self.assertNotIn("*", json.dumps([statement["Action"], statement["Resource"]]))
        reads = {"dynamodb:GetItem", "dynamodb:BatchGetItem"}
        writes = {"dynamodb:UpdateItem", "dynamodb:PutItem", "dynamodb:DeleteItem"}
        self.assertEqual(set(statements["Hot"]["Action"]), reads | writes)
        self.assertEqual(set(statements["Control"]["Action"]), reads)
        condition = statements["Hot"]["Condition"]
        self.assertIn("rl#*", condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])
        self.assertEqual(condition["Null"], {"dynamodb:LeadingKeys": "false"})
        # Keys are looked up; the lists of a tenant's keys are the command line's alone.
        keys = statements["Control"]["Condition"]
        self.assertEqual(keys["ForAllValues:StringLike"], {"dynamodb:LeadingKeys": ["ak#*"]})
        self.assertEqual(keys["Null"], {"dynamodb:LeadingKeys": "false"})

    def test_the_function_is_told_its_tables_and_what_the_config_exposes(self):
        variables = self.function()["Environment"]["Variables"]
        self.assertEqual(variables["TOLLGATE_HOT_TABLE"], {"Ref": "HotTable"})
        self.assertEqual(variables["TOLLGATE_CONTROL_TABLE"], {"Ref": "ControlTable"})
        ours = {name for name in variables if not name.startswith("TOLLGATE_") and name != "SSL_CERT_FILE"}
        self.assertEqual(ours, set(self.config["expose_env"]))

    def test_only_functions_that_exist_are_named_and_all_that_exist_are(self):
        functions = [r["Properties"] for r in self.source["Resources"].values() if r["Type"] == "AWS::Serverless::Function"]
        there = {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("functions/*/Cargo.toml")}
        self.assertEqual({function["CodeUri"] for function in functions}, there)

    def test_the_log_is_kept_for_a_time_and_not_for_ever(self):
        (log,) = self.of_type("AWS::Logs::LogGroup").values()
        self.assertIn("RetentionInDays", log)
        self.assertEqual(self.function()["LoggingConfig"]["LogGroup"], {"Ref": "Logs"})

    def test_the_built_layer_holds_the_config_where_the_function_looks_and_every_file_it_includes(self):
        path = self.function()["Environment"]["Variables"]["TOLLGATE_CONFIG"]
        layer = BUILT / "RouteConfig"
        self.assertTrue((layer / pathlib.PurePosixPath(path).relative_to("/opt")).is_file())
        wanted = {p.relative_to(ROOT / "infra") for p in (ROOT / "infra").rglob("*") if p.is_file() and p.name != "Makefile"}
        self.assertEqual({p.relative_to(layer) for p in layer.rglob("*") if p.is_file()}, wanted)
        self.assertEqual(len(self.function()["Layers"]), 1)

    def test_the_built_function_is_one_program_that_runs_on_the_functions_architecture(self):
        files = [p.name for p in (BUILT / "Gateway").iterdir()]
        self.assertEqual(files, ["bootstrap"])
        bootstrap = (BUILT / "Gateway" / "bootstrap").read_bytes()
        self.assertEqual(bootstrap[:4], b"\x7fELF")
        machine = {62: "x86_64", 183: "arm64"}[int.from_bytes(bootstrap[18:20], "little")]
        self.assertEqual(machine, self.source["Parameters"]["Architecture"]["Default"])


if __name__ == "__main__":
    outcome = unittest.main(exit=False).result
    failed = len(outcome.failures) + len(outcome.errors)
    print(f"{outcome.testsRun - failed} passed, {failed} failed")
    sys.exit(bool(failed))
