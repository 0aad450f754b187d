{{- define "bastion.labels" -}}
app.kubernetes.io/name: bastion
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: bastion
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Selector of one program. Argument: (list . "gateway"). */}}
{{- define "bastion.selector" -}}
app.kubernetes.io/name: bastion
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "bastion.credentialsNamespace" -}}
{{ .Release.Namespace }}-credentials
{{- end }}

{{- define "bastion.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end }}

{{/* Pod settings for the Pod Security Standard "restricted". Argument: the user ID. */}}
{{- define "bastion.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Container settings for the same standard. */}}
{{- define "bastion.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "bastion.spread" -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "bastion.selector" $ | nindent 6 }}
{{- end }}
{{- end }}

{{/*
Spread of a program whose Pods must not be on one node. DoNotSchedule counts only the nodes that the Pod may run on: a cluster
with one node schedules all of them there, and one with two nodes keeps them apart, which a required anti-affinity could not do
for both. A failed node does not count, since its taint is not tolerated, so the other node takes its Pod. Pods of an older
revision do not count either; else a rolling upgrade could leave both new Pods on one node.
*/}}
{{- define "bastion.apart" -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: DoNotSchedule
  nodeTaintsPolicy: Honor
  matchLabelKeys: [pod-template-hash]
  labelSelector:
    matchLabels: {{- include "bastion.selector" $ | nindent 6 }}
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "bastion.selector" $ | nindent 6 }}
{{- end }}

{{/* Tolerations by which a Pod leaves a failed node after 5 seconds, instead of Kubernetes' 300. */}}
{{- define "bastion.leaveFailedNode" -}}
{{- range list "not-ready" "unreachable" }}
- {key: node.kubernetes.io/{{ . }}, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
{{- end }}
{{- end }}

{{/* Environment variables of each program. */}}
{{- define "bastion.env" -}}
- name: BASTION_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{ include "bastion.logEnv" . }}
{{- end }}

{{- define "bastion.logEnv" -}}
- {name: BASTION_LOG_FORMAT, value: {{ .Values.log.format | quote }}}
- {name: BASTION_LOG, value: {{ .Values.log.filter | quote }}}
{{- end }}

{{- define "bastion.redisEnv" -}}
{{- if eq .Values.redis.type "bundled" }}
- {name: BASTION_REDIS_URL, value: "redis://bastion-redis:6379/0"}
- {name: BASTION_REDIS_PASSWORD_FILE, value: /run/secrets/bastion/redis/password}
{{- else if eq .Values.redis.type "external" }}
- {name: BASTION_REDIS_URL, value: {{ .Values.redis.external.url | quote }}}
{{- if .Values.redis.external.passwordSecret.name }}
- {name: BASTION_REDIS_PASSWORD_FILE, value: /run/secrets/bastion/redis/password}
{{- end }}
{{- end }}
{{- end }}

{{- define "bastion.redisMount" -}}
{{- if or (eq .Values.redis.type "bundled") (and (eq .Values.redis.type "external") .Values.redis.external.passwordSecret.name) }}
- {name: redis, mountPath: /run/secrets/bastion/redis, readOnly: true}
{{- end }}
{{- end }}

{{- define "bastion.redisVolume" -}}
{{- if eq .Values.redis.type "bundled" }}
- name: redis
  secret: {secretName: bastion-bundled, items: [{key: redis-password, path: password}]}
{{- else if and (eq .Values.redis.type "external") .Values.redis.external.passwordSecret.name }}
- name: redis
  secret:
    secretName: {{ .Values.redis.external.passwordSecret.name }}
    items: [{key: {{ .Values.redis.external.passwordSecret.key | quote }}, path: password}]
{{- end }}
{{- end }}

{{/* Keys of the browsers' cookies. The console encrypts them, and the gateways' web terminal decrypts them. */}}
{{- define "bastion.cookieEnv" -}}
{{- if .Values.console.enabled }}
- {name: BASTION_COOKIE_KEY_FILE, value: /run/secrets/bastion/cookie/keys}
{{- with include "bastion.publicUrl" . }}
- {name: BASTION_PUBLIC_URL, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "bastion.cookieMount" -}}
{{- if .Values.console.enabled }}
- {name: cookie, mountPath: /run/secrets/bastion/cookie, readOnly: true}
{{- end }}
{{- end }}

{{- define "bastion.cookieVolume" -}}
{{- if .Values.console.enabled }}
- name: cookie
  secret: {secretName: {{ .Values.console.cookieKeySecret | default "bastion-console" }}, items: [{key: keys, path: keys}]}
{{- end }}
{{- end }}

{{/* The OpenID Connect provider, if one is set. */}}
{{- define "bastion.oidcEnv" -}}
{{- with .Values.console.oidc }}
{{- if .issuerUrl }}
- {name: BASTION_OIDC_ISSUER_URL, value: {{ .issuerUrl | quote }}}
- {name: BASTION_OIDC_CLIENT_ID, value: {{ .clientId | quote }}}
{{- if .clientSecret.name }}
- {name: BASTION_OIDC_CLIENT_SECRET_FILE, value: {{ printf "/run/secrets/bastion/oidc/%s" .clientSecret.key }}}
{{- end }}
{{- if .caConfigMap.name }}
- {name: BASTION_OIDC_CA_FILE, value: {{ printf "/run/secrets/bastion/oidc-ca/%s" .caConfigMap.key }}}
{{- end }}
- {name: BASTION_OIDC_NAME, value: {{ .name | quote }}}
- {name: BASTION_OIDC_SCOPES, value: {{ join "," .scopes | quote }}}
- {name: BASTION_OIDC_USERNAME_CLAIM, value: {{ .usernameClaim | quote }}}
- {name: BASTION_OIDC_USERNAME_PREFIX, value: {{ .usernamePrefix | quote }}}
- {name: BASTION_OIDC_GROUPS_CLAIM, value: {{ .groupsClaim | quote }}}
- {name: BASTION_OIDC_GROUPS_PREFIX, value: {{ .groupsPrefix | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "bastion.oidcMount" -}}
{{- with .Values.console.oidc }}
{{- if and .issuerUrl .clientSecret.name }}
- {name: oidc, mountPath: /run/secrets/bastion/oidc, readOnly: true}
{{- end }}
{{- if and .issuerUrl .caConfigMap.name }}
- {name: oidc-ca, mountPath: /run/secrets/bastion/oidc-ca, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{- define "bastion.oidcVolume" -}}
{{- with .Values.console.oidc }}
{{- if and .issuerUrl .clientSecret.name }}
- name: oidc
  secret: {secretName: {{ .clientSecret.name }}}
{{- end }}
{{- if and .issuerUrl .caConfigMap.name }}
- name: oidc-ca
  configMap: {name: {{ .caConfigMap.name }}}
{{- end }}
{{- end }}
{{- end }}

{{/* The console's public URL; empty with kubectl port-forward. */}}
{{- define "bastion.publicUrl" -}}
{{- with .Values.console -}}
{{- if .publicUrl -}}{{ .publicUrl }}{{- else if .ingress.enabled -}}https://{{ .ingress.host }}{{- end -}}
{{- end -}}
{{- end }}

{{/* The audit database. Programs read the password again when its file changes. */}}
{{- define "bastion.databaseEnv" -}}
{{- with .Values.database }}
{{- if eq .type "sqlite" }}
- {name: BASTION_AUDIT_URL, value: "sqlite:///var/lib/bastion/audit.db"}
{{- else if eq .type "bundled" }}
- {name: BASTION_AUDIT_URL, value: "mysql://bastion@bastion-mariadb:3306/bastion"}
- {name: BASTION_AUDIT_PASSWORD_FILE, value: /run/secrets/bastion/database/password}
- {name: BASTION_AUDIT_TLS, value: "off"}
{{- else }}
- {name: BASTION_AUDIT_URL, value: {{ printf "mysql://%s@%s:%v/%s" .mysql.user .mysql.host .mysql.port .mysql.database | quote }}}
- {name: BASTION_AUDIT_PASSWORD_FILE, value: /run/secrets/bastion/database/password}
- {name: BASTION_AUDIT_TLS, value: {{ .mysql.tls | quote }}}
{{- if .mysql.caSecret.name }}
- {name: BASTION_AUDIT_CA_FILE, value: /run/secrets/bastion/database-ca/ca.crt}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "bastion.databaseMount" -}}
{{- if eq .Values.database.type "sqlite" }}
- {name: database, mountPath: /var/lib/bastion}
{{- else }}
- {name: database, mountPath: /run/secrets/bastion/database, readOnly: true}
{{- if and (eq .Values.database.type "mysql") .Values.database.mysql.caSecret.name }}
- {name: database-ca, mountPath: /run/secrets/bastion/database-ca, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{- define "bastion.databaseVolume" -}}
{{- with .Values.database }}
{{- if eq .type "sqlite" }}
{{- if .sqlite.persistent }}
- name: database
  persistentVolumeClaim: {claimName: {{ .sqlite.existingClaim | default "bastion-audit" }}}
{{- else }}
- {name: database, emptyDir: {}}
{{- end }}
{{- else if eq .type "bundled" }}
- name: database
  secret: {secretName: bastion-bundled, items: [{key: mariadb-password, path: password}]}
{{- else }}
- name: database
  secret:
    secretName: {{ .mysql.passwordSecret.name }}
    items: [{key: {{ .mysql.passwordSecret.key | quote }}, path: password}]
{{- if .mysql.caSecret.name }}
- name: database-ca
  secret:
    secretName: {{ .mysql.caSecret.name }}
    items: [{key: {{ .mysql.caSecret.key | quote }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "bastion.auditReplicas" -}}
{{- if kindIs "invalid" .Values.audit.replicas }}{{ ternary 1 2 (eq .Values.database.type "sqlite") }}{{ else }}{{ .Values.audit.replicas }}{{ end }}
{{- end }}

{{/* TCP ports that a program may connect to. Argument: (list . "controller"). */}}
{{- define "bastion.ports" -}}
{{- $values := (index . 0).Values }}
{{- $ports := concat (list 443 6443) $values.networkPolicy.controllerPorts }}
{{- if eq (index . 1) "audit" }}
{{- if eq $values.database.type "mysql" }}{{ $ports = append $ports $values.database.mysql.port }}{{ end }}
{{- if eq $values.database.type "bundled" }}{{ $ports = append $ports 3306 }}{{ end }}
{{- else }}
{{- if eq $values.redis.type "bundled" }}{{ $ports = append $ports 6379 }}{{ end }}
{{- if eq $values.redis.type "external" }}{{ $ports = append $ports (regexFind "[0-9]+$" (urlParse $values.redis.external.url).host | default "6379" | int) }}{{ end }}
{{- end }}
{{- range uniq $ports }}
- {protocol: TCP, port: {{ . }}}
{{- end }}
{{- end }}
