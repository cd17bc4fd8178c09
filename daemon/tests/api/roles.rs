//! Roles.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Api, unique};

#[tokio::test]
async fn a_role_is_created_read_changed_and_deleted() {
    let api = Api::new().await;
    let answer = api
        .post("/roles", json!({"name": "support", "description": "first line"}))
        .await;
    let role = answer.expect(201);
    let fields = [
        "id",
        "name",
        "description",
        "is_active",
        "direct_member_count",
        "effective_member_count",
        "members",
        "parent_roles",
        "child_roles",
        "policy_assignments",
        "datasource_access",
        "created_at",
        "updated_at",
    ];
    for field in fields {
        assert!(role.get(field).is_some(), "{field} in {role}");
    }
    let path = format!("/roles/{}", answer.id());
    assert_eq!(api.get(&path).await.expect(200), role);
    let changed = api
        .put(
            &path,
            json!({"name": "helpers", "description": null, "is_active": false}),
        )
        .await
        .expect(200);
    assert_eq!(
        (&changed["name"], &changed["description"]),
        (&json!("helpers"), &Value::Null)
    );
    api.put(&path, json!({"name": "x", "version": 1})).await.error(409);
    assert_eq!(api.get("/roles?search=ELP").await.expect(200)["total"], 1);
    api.post("/roles", json!({"name": "helpers"})).await.error(409);
    for bad in ["", " ", " padded", "tab\t", "nul\0", &"x".repeat(101)] {
        api.post("/roles", json!({"name": bad})).await.error(422);
    }
    api.delete(&path).await.expect(204);
    api.get(&path).await.error(404);
}

#[tokio::test]
async fn membership_reaches_through_active_roles_only() {
    let api = Api::new().await;
    let (staff, support) = (api.role("staff").await, api.role("support").await);
    let (alice, bob) = (api.user(&unique("alice")).await, api.user(&unique("bob")).await);
    api.join(&staff, &[&bob]).await;
    let with_alice = api
        .post(
            &format!("/roles/{support}/members"),
            json!({"user_ids": [alice, alice]}),
        )
        .await
        .expect(200);
    assert_eq!(with_alice["members"].as_array().unwrap().len(), 1);
    let child = api
        .post(&format!("/roles/{support}/parents"), json!({"parent_role_id": staff}))
        .await
        .expect(200);
    assert_eq!(child["parent_roles"][0]["name"], "staff");
    let detail = api.get(&format!("/roles/{staff}")).await.expect(200);
    assert_eq!(
        (&detail["direct_member_count"], &detail["effective_member_count"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(detail["child_roles"][0]["name"], "support");
    let members = api.get(&format!("/roles/{staff}/effective-members")).await.expect(200);
    assert_eq!(members.as_array().unwrap().len(), 2);
    let impact = api.get(&format!("/roles/{staff}/impact")).await.expect(200);
    assert_eq!(impact, json!({"affected_users": 2, "affected_assignments": 0}));
    api.put(&format!("/roles/{support}"), json!({"is_active": false}))
        .await
        .expect(200);
    let members = api.get(&format!("/roles/{staff}/effective-members")).await.expect(200);
    assert_eq!(
        members.as_array().unwrap().len(),
        1,
        "an inactive role passes nothing on"
    );

    api.delete(&format!("/roles/{support}/parents/{staff}"))
        .await
        .expect(204);
    api.delete(&format!("/roles/{support}/parents/{staff}"))
        .await
        .error(404);
    api.delete(&format!("/roles/{support}/members/{alice}"))
        .await
        .expect(204);
    api.delete(&format!("/roles/{support}/members/{alice}"))
        .await
        .error(404);
    let nobody = Uuid::new_v4();
    api.post(&format!("/roles/{staff}/members"), json!({"user_ids": [nobody]}))
        .await
        .error(404);
    api.post(&format!("/roles/{nobody}/members"), json!({"user_ids": []}))
        .await
        .error(404);
    api.post(&format!("/roles/{staff}/parents"), json!({"parent_role_id": nobody}))
        .await
        .error(404);
}

#[tokio::test]
async fn inheritance_has_no_circle_and_a_bottom() {
    let api = Api::new().await;
    let mut roles = Vec::new();
    for index in 0..12 {
        roles.push(api.role(&format!("r{index}")).await);
    }
    let inherit = async |role: &str, parent: &str| {
        api.post(&format!("/roles/{role}/parents"), json!({"parent_role_id": parent}))
            .await
    };
    inherit(&roles[0], &roles[0]).await.error(422);
    for index in 0..10 {
        inherit(&roles[index], &roles[index + 1]).await.expect(200);
    }
    assert!(inherit(&roles[10], &roles[11]).await.error(422).contains("10 steps"));
    assert!(
        inherit(&roles[5], &roles[0])
            .await
            .error(422)
            .contains("already inherits")
    );
    inherit(&roles[0], &roles[1]).await.error(409);
}

/// Two halves of a circle at the same time: changes run one after the other, so one of them is refused.
#[tokio::test]
async fn two_administrators_cannot_make_a_circle_together() {
    let api = Api::new().await;
    for round in 0..5 {
        let (one, other) = (
            api.role(&format!("a{round}")).await,
            api.role(&format!("b{round}")).await,
        );
        let inherit = async |role: &str, parent: &str| {
            api.post(&format!("/roles/{role}/parents"), json!({"parent_role_id": parent}))
                .await
                .status
                .as_u16()
        };
        let (first, second) = tokio::join!(inherit(&one, &other), inherit(&other, &one));
        let mut both = [first, second];
        both.sort_unstable();
        assert_eq!(both, [200, 422]);
    }
}
