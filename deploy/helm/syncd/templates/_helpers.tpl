{{- define "syncd.name" -}}
{{- if contains "syncd" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-syncd" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "syncd.selector" -}}
app.kubernetes.io/name: syncd
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "syncd.labels" -}}
{{ include "syncd.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "syncd.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "syncd.secretKeys" -}}
{{- $keys := list "mongo-uri" "redis-url" }}
{{- if .Values.existingSecret }}{{ $keys = concat $keys .Values.secretKeys }}
{{- else if .Values.hmacKey }}{{ $keys = append $keys "hmac-key" }}{{ end }}
{{- toJson $keys }}
{{- end }}

{{/* The pod of the Deployment, and of the StatefulSet. */}}
{{- define "syncd.pod" -}}
metadata:
  labels: {{- include "syncd.selector" . | nindent 4 }}
  annotations:
    {{- if not .Values.existingSecret }}
    # Secrets are read when a pod starts; contracts are taken up while it runs.
    syncd/secret: {{ list .Values.mongoUri .Values.redisUrl .Values.hmacKey | toJson | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  # syncd takes up to 25 s to finish its batches.
  terminationGracePeriodSeconds: 40
  automountServiceAccountToken: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile: {type: RuntimeDefault}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "syncd.selector" . | nindent 10 }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: syncd
      image: {{ include "syncd.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [run]
      env:
        {{- if .Values.partitions }}
        - name: POD_INDEX
          valueFrom: {fieldRef: {fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']"}}
        - {name: SYNCD_PARTITION, value: "$(POD_INDEX)/{{ .Values.partitions }}"}
        {{- end }}
        - {name: SYNCD_CONTRACTS, value: /contracts}
        - {name: SYNCD_HTTP, value: "0.0.0.0:9399"}
        {{- if not (hasKey .Values.settings "SYNCD_LOG_FORMAT") }}
        - {name: SYNCD_LOG_FORMAT, value: json}
        {{- end }}
        {{- range include "syncd.secretKeys" . | fromJsonArray }}
        - {name: SYNCD_{{ . | upper | replace "-" "_" }}_FILE, value: /etc/syncd/secrets/{{ . }}}
        {{- end }}
        {{- range $store, $tls := .Values.tls }}
        {{- if $tls.secret }}
        - {name: SYNCD_{{ $store | upper }}_TLS_CA_FILE, value: /etc/syncd/{{ $store }}-tls/ca.crt}
        {{- if $tls.client }}
        - {name: SYNCD_{{ $store | upper }}_TLS_CERT_FILE, value: /etc/syncd/{{ $store }}-tls/tls.crt}
        - {name: SYNCD_{{ $store | upper }}_TLS_KEY_FILE, value: /etc/syncd/{{ $store }}-tls/tls.key}
        {{- end }}
        {{- end }}
        {{- end }}
        {{- range $name, $value := .Values.settings }}
        - {name: {{ $name }}, value: {{ $value | toString | quote }}}
        {{- end }}
      ports:
        - {name: http, containerPort: 9399}
      startupProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 5
        timeoutSeconds: 5
      resources: {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: contracts, mountPath: /contracts, readOnly: true}
        - {name: secrets, mountPath: /etc/syncd/secrets, readOnly: true}
        {{- range $store, $tls := .Values.tls }}
        {{- if $tls.secret }}
        - {name: {{ $store }}-tls, mountPath: /etc/syncd/{{ $store }}-tls, readOnly: true}
        {{- end }}
        {{- end }}
  volumes:
    - name: contracts
      configMap: {name: {{ .Values.existingContracts | default (printf "%s-contracts" (include "syncd.name" .)) }}}
    - name: secrets
      secret: {secretName: {{ .Values.existingSecret | default (include "syncd.name" .) }}, defaultMode: 0440}
    {{- range $store, $tls := .Values.tls }}
    {{- if $tls.secret }}
    - name: {{ $store }}-tls
      secret: {secretName: {{ $tls.secret }}, defaultMode: 0440}
    {{- end }}
    {{- end }}
{{- end }}
